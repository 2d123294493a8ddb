"""OSLSM over a dilated FCN of stride 8 (Yu and Koltun): 37.0 and 37.43 on fold 0 (OSLSM 7).

fss train --config oslsm/dilated --workdir runs/oslsm_dilated_fold0 \
    --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel
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
            "geometry": "dilated8",
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
