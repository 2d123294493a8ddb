"""OSLSM as its paper describes it (arXiv 1709.03410, section 4.3), where that differs from the release.

python train.py --config fss_jax/configs/oslsm_paper.py --workdir runs/oslsm_paper_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

FCN's own padding, one hash for all 4097 numbers, images drawn before classes, one episode an update,
no weight decay, 0.1 for the whole conditioning branch. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.rule = "image_then_class"
    c.model.geometry = "paper"
    c.model.hash_form = "joint"
    c.batch = 1
    c.weight_decay = 0.0
    c.lr_multipliers = (("conditioning/.*", 0.1),)
    c.protocol = "oslsm_paper"
    return c
