"""1-NN on dense fc7 features of the base network (OSLSM 6; author's answer in protocols.md A.12).

fss evaluate --config nearest/vgg16 --workdir runs/oslsm_nearest_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0

Support images are seen at the query's 500 pixels; the paper does not say. Not run here in full.
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

    c.method = "nearest"
    c.model = ConfigDict(
        {
            "geometry": "paper",
            "preprocessing": "caffe",
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
