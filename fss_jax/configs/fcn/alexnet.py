"""The base network with AlexNet, for the LogReg baseline of OSLSM's Figure 3.

python -m fss_jax.training.base_network --config fss_jax/configs/oslsm_alexnet_base.py \
    --workdir runs/base_alexnet --config.init=torchvision:alexnet
"""

from ml_collections import ConfigDict

from fss_jax.configs import base_network


def get_config() -> ConfigDict:
    c = base_network.get_config()
    c.model.backbone = "alexnet"
    c.model.preprocessing = "torchvision"
    c.lr = 1e-4  # ours
    return c
