"""OSLSM with AlexNet in both branches (OSLSM 5.3, Figure 3; fold 0).

python train.py --config fss_jax/configs/oslsm_alexnet.py --workdir runs/oslsm_alexnet \
    --config.dataset=pascal_5i/fold0 --config.init=torchvision:alexnet

Initial weights: ImageNet's 1000 classes as above; the 771 classes that are not PASCAL's from a file
that you trained (--config.init=torchvision:alexnet:FILE --config.init_skip=fc8: its last layer has
771 outputs); none, without --config.init. The authors' 771-class file was never published.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.model.backbone = "alexnet"
    c.model.preprocessing = "torchvision"
    c.lr = 1e-9  # ours: the paper gives VGG's alone
    return c
