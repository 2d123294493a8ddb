"""Siamese dense matching with a learned L1 similarity (OSLSM 6 and supplement B).

fss train --config siamese/vgg16 --workdir runs/siamese_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel
fss evaluate --workdir runs/siamese_fold0

5-shot keeps 0.3 of the support's pixels: --config.model.keep=0.3. The rates are ours: the paper
gives none. Not trained here in full.
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
    c.support_size = 500
    c.query_size = 500  # queries at their own size
    c.void = "background"
    c.min_lattice_hits = 3

    c.method = "siamese"
    c.model = ConfigDict(
        {
            "geometry": "paper",
            "preprocessing": "caffe",
        }
    )
    c.init_skip = "fc8"  # ImageNet's classes

    c.steps = 60000
    c.batch = 10  # iter_size
    c.loss = "pairs"
    c.optimizer = "sgd"
    c.lr = 1e-05
    c.schedule = "constant"
    c.weight_decay = 0.0005  # weights only
    c.steps_per_dispatch = 10

    c.val_protocol = "oslsm_release"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "oslsm_release"
    c.eval_batch = 1
    return c
