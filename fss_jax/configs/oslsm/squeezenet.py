"""OSLSM with SqueezeNet 1.0 in both branches, on PASCAL-5i: the pretrained row that a CPU can train.

fss train --config oslsm/squeezenet --workdir runs/pascal_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug \
    --config.init=torchvision:squeezenet1_0

Without --config.init it trains from scratch. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 160
    c.query_size = 224
    c.void = "background"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "dropout": 0.0,
            "geometry": "squeezenet",
            "hidden": 512,
            "logit_scale": "cosine",  # pretrained features are large
            "preprocessing": "torchvision",
        }
    )

    c.steps = 160
    c.batch = 16
    c.loss = "mean"
    c.foreground_weight = 3.0  # else 300 steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 30
    c.clip = 1.0
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.eval_every = 80
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
