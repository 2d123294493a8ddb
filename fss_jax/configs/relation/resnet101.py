"""FSS-1000's Table 2 on ResNet-101 (BCE 79.43, MSE 79.12), layers as in its co-author's repository.

python train.py --config fss_jax/configs/fss1000_resnet101.py --workdir runs/fss1000_resnet101

The MSE row: --config.loss=mse. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import fss1000_release


def get_config() -> ConfigDict:
    c = fss1000_release.get_config()
    c.model.backbone = "resnet101"
    c.model.source = "torchvision"  # or keras
    c.loss = "mean"  # BCE
    c.steps = 500_000  # FSS-1000 5.1
    c.halve_every = 50_000  # FSS-1000 5.1
    return c
