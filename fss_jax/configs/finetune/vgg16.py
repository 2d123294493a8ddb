"""Fine-tuning of fc6 and fc7 with BatchNorm and a new classifier on each support (OSLSM 5.1).

python evaluate.py --config fss_jax/configs/oslsm_finetune.py --workdir runs/oslsm_finetune_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0

Steps and rate are ours: the paper gives neither.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_nearest


def get_config() -> ConfigDict:
    c = oslsm_nearest.get_config()
    c.method = "finetune"
    return c
