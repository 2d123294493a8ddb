"""OSLSM as its released code trains it (protocols.md A.9).

fss train --config oslsm/release --workdir runs/oslsm_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

One step is one Caffe iteration: the mean of 10 episodes' gradients of pixel sums. On a device that 10
episodes do not fit: --config.batch=2 --config.accumulate=5 --config.steps=300000 is the same update.
Not trained here in full: no GPU and no full PASCAL were at hand.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 224
    c.query_size = 0  # queries at their own size
    c.void = "background"
    c.min_lattice_hits = 3

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

    c.val_protocol = "oslsm_release"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
