"""The base network of OSLSM's comparison methods (OSLSM 5.1): FCN-32s on a fold's training classes.

python -m fss_jax.training.base_network --config fss_jax/configs/base_network.py --workdir runs/base_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

16-way: 15 classes and background; void is left out. The paper says that FCN-32s was fine-tuned and
no more: the rate is FCN's 1e-10 for a sum over 500 x 500 pixels, here of a mean; images are warped
to that size. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.method = "base"
    c.rule = "class_uniform"  # both images of a record are trained on
    c.query_size = 500
    c.min_lattice_hits = 0
    c.void = "ignore"
    c.model = ConfigDict({"geometry": "paper", "preprocessing": "caffe", "classes": 16})
    c.init_skip = "fc8"  # ImageNet's classes
    c.loss = "mean"
    c.lr = 1e-10 * 500 * 500
    c.lr_multipliers = ((".*/bias", 2.0),)
    c.steps = 20_000
    return c
