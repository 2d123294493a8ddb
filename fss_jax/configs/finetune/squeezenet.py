"""Fine-tuning of the last module of a SqueezeNet base network on each support.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_finetune.py \
    --workdir runs/squeezenet_finetune --config.dataset=pascal_5i/fold1 \
    --config.init=workdir:runs/base_squeezenet \
    --config.init_skip=score
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet_nearest


def get_config() -> ConfigDict:
    c = pascal_squeezenet_nearest.get_config()
    c.method = "finetune"
    return c
