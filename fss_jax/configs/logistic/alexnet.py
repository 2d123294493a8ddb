"""Logistic regression on AlexNet's fc7 (OSLSM 5.3, Figure 3).

python evaluate.py --config fss_jax/configs/oslsm_alexnet_logistic.py --workdir runs/logistic_alexnet \
    --config.init=workdir:runs/base_alexnet
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_logistic


def get_config() -> ConfigDict:
    c = oslsm_logistic.get_config()
    c.model.backbone = "alexnet"
    c.model.preprocessing = "torchvision"
    return c
