"""Logistic regression on AlexNet's fc7 (OSLSM 7.1, Figure 3).

fss evaluate --config logistic/alexnet --workdir runs/logistic_alexnet \
    --config.init=workdir:runs/base_alexnet
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
    c.support_size = 500
    c.query_size = 500  # queries at their own size
    c.void = "background"

    c.method = "logistic"
    c.model = ConfigDict(
        {
            "backbone": "caffe_alexnet",
            "geometry": "paper",
            "preprocessing": "caffe",
            "strength": 1.0,
        }
    )
    c.init_skip = "score"  # ImageNet's classes

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
    c.eval_batch = 1
    return c
