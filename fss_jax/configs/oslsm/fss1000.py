"""OSLSM on FSS-1000, a row of that paper's Table 3 (70.29 with one shot, 73.02 with five).

fss train --config oslsm/fss1000 --workdir runs/fss1000_oslsm \
    --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

Trained with one shot as OSLSM is; five are the union of five answers: --shots 5 of fss evaluate. The
FSS-1000 paper does not say how it trained OSLSM: settings are OSLSM's own release. Not trained here
in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_1000/standard"
    c.canvas = 224  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"
    c.support_size = 224
    c.query_size = 224  # queries at their own size
    c.void = "background"

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "geometry": "release",
            "hash_form": "separate",
            "preprocessing": "caffe",
        }
    )

    c.steps = 60000
    c.batch = 10  # iter_size
    c.loss = "sum"
    c.optimizer = "sgd"
    c.lr = 1e-10
    c.schedule = "constant"
    c.weight_decay = 0.0005  # weights only
    c.lr_multipliers = (
        ("conditioning/.*/kernel", 0.1),
        ("conditioning/.*/bias", 0.2),
        ("segmentation/.*/bias", 2.0),
    )
    c.steps_per_dispatch = 10

    c.val_protocol = "fss1000_paper"
    c.val_episodes = 240
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "fss1000_paper"
    c.eval_batch = 8
    return c
