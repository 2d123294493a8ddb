"""FSS-1000's Table 2 on InceptionV3 (BCE 79.02, MSE 79.22); its decoder was never published.

python train.py --config fss_jax/configs/fss1000_inception.py --workdir runs/fss1000_inception

Skips and channels are our choice (see fss_jax/methods/relation.py). The MSE row: --config.loss=mse.
Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import fss1000_resnet101


def get_config() -> ConfigDict:
    c = fss1000_resnet101.get_config()
    c.model.backbone = "inception_v3"
    c.model.source = "torchvision"  # or keras
    return c
