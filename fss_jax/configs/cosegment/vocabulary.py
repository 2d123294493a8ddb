"""Co-segmentation by composition, the unsupervised row of OSLSM's Table 1: no weights, no masks.

fss evaluate --config cosegment/vocabulary --workdir runs/cosegment_fold0 \
    --config.dataset=pascal_5i/fold0 --shots 5
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

    c.method = "cosegment"
    c.model = ConfigDict(
        {
            "preprocessing": "unit",
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
    c.eval_batch = 2
    return c
