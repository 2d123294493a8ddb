"""The base network of OSLSM's comparison methods on SqueezeNet: 16-way, on a fold's training classes.

fss train --config fcn/squeezenet \
    --workdir runs/base_squeezenet --config.dataset=pascal_5i/fold1_trainaug \
    --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"  # both images of a record are trained on
    c.support_size = 224
    c.query_size = 224
    c.void = "ignore"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "fcn"
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "classes": 16,
            "dropout": 0.0,
            "geometry": "squeezenet",
            "hidden": 512,
            "preprocessing": "torchvision",
        }
    )
    c.init_skip = "conv10"

    c.steps = 400
    c.batch = 4  # of two images
    c.loss = "mean"
    c.foreground_weight = 3.0  # else 300 steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 30
    c.clip = 1.0
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
