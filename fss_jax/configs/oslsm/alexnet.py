"""OSLSM with AlexNet in both branches (OSLSM 7.1, Figure 3; fold 0).

fss train --config oslsm/alexnet --workdir runs/oslsm_alexnet \
    --config.dataset=pascal_5i/fold0 --config.init=torchvision:alexnet

Initial weights: ImageNet's 1000 classes as above; the 771 classes that are not PASCAL's from a file
that you trained (--config.init=torchvision:alexnet:FILE --config.init_skip=fc8: its last layer has
771 outputs); none, without --config.init. The authors' 771-class file was never published.
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
            "backbone": "alexnet",
            "geometry": "release",
            "hash_form": "separate",
            "preprocessing": "torchvision",
        }
    )

    c.steps = 60000
    c.batch = 10  # iter_size
    c.loss = "sum"
    c.optimizer = "sgd"
    c.lr = 1e-09  # ours: the paper gives VGG's alone
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
