"""A small OSLSM on the embedded glyphs: minutes on two CPU cores (`make quickstart`).

fss train --config oslsm/quickstart --workdir runs/quickstart
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_glyphs/tiny"
    c.canvas = 64
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"
    c.support_size = 64
    c.query_size = 64
    c.void = "background"

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "blocks": ((1, 16), (1, 32), (1, 64), (1, 96), (1, 96)),
            "dropout": 0.0,
            "fc6_size": 1,
            "geometry": "dilated4",
            "hidden": 128,
            "logit_scale": "sqrt",
            "norm": "batch",
            "num_outputs": 128,
            "preprocessing": "centered",
        }
    )

    c.steps = 520
    c.batch = 32
    c.loss = "mean"
    c.foreground_weight = 3.0
    c.optimizer = "muon"  # fewer episodes than Adam needs (docs/performance.md)
    c.momentum = 0.9
    c.lr = 0.006
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 1.0
    c.steps_per_dispatch = 1  # a CPU gains nothing from more, and compiles each

    c.eval_every = 260
    c.protocol = "uniform"
    return c
