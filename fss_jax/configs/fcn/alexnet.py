"""The base network with AlexNet, for the LogReg baseline of OSLSM's Figure 3.

fss train --config fcn/alexnet \
    --workdir runs/base_alexnet --config.init=caffe:alexnet
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
            "backbone": "caffe_alexnet",
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
    c.lr = 0.0001  # ours
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
