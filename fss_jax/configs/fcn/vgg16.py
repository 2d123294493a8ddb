"""The base network of OSLSM's comparison methods (OSLSM 6): FCN-32s on a fold's training classes.

fss train --config fcn/vgg16 --workdir runs/base_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

16-way: 15 classes and background; void is left out. The paper says that FCN-32s was fine-tuned and
no more: the rate is FCN's 1e-10 for a sum over 500 x 500 pixels, here of a mean; images are warped
to that size. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"  # both images of a record are trained on
    c.support_size = 224
    c.query_size = 500  # queries at their own size
    c.void = "ignore"

    c.method = "fcn"
    c.model = ConfigDict(
        {
            "classes": 16,
            "geometry": "paper",
            "preprocessing": "caffe",
        }
    )
    c.init_skip = "fc8"  # ImageNet's classes

    c.steps = 20000
    c.batch = 10  # iter_size
    c.loss = "mean"
    c.optimizer = "sgd"
    c.lr = 2.5e-05
    c.schedule = "constant"
    c.weight_decay = 0.0005  # weights only
    c.lr_multipliers = ((".*/bias", 2.0),)
    c.steps_per_dispatch = 10

    c.val_protocol = "oslsm_release"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
