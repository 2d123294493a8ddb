"""OSLSM as its released code trains it (protocols.md A.9).

python train.py --config fss_jax/configs/oslsm_release.py --workdir runs/oslsm_fold0 \
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
    c.support_size = 224
    c.query_size = 0  # queries at their own size
    c.rule = "shuffled_items"
    c.min_lattice_hits = 3
    c.model = ConfigDict({"geometry": "release", "hash_form": "separate", "preprocessing": "caffe"})
    c.steps = 60_000
    c.steps_per_dispatch = 10
    c.batch = 10  # iter_size
    c.loss = "sum"
    c.optimizer, c.momentum, c.lr = "sgd", 0.99, 1e-10
    c.weight_decay = 5e-4  # weights only
    c.lr_multipliers = (
        ("conditioning/.*/kernel", 0.1),
        ("conditioning/.*/bias", 0.2),
        ("segmentation/.*/bias", 2.0),
    )
    c.val_protocol = c.protocol = "oslsm_release"
    c.eval_every = 5_000
    c.log_every = 100
    c.eval_batch = 8
    return c
