"""Fine-tuning of the small base network's fc6 and fc7 on each support.

python evaluate.py --config fss_jax/configs/pascal_small_finetune.py --workdir runs/finetune_small \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=workdir:runs/base_small_fold1
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small_nearest


def get_config() -> ConfigDict:
    c = pascal_small_nearest.get_config()
    c.method = "finetune"
    c.model.learning_rate = 0.01  # of a network without ImageNet's scale
    return c
