"""A small OSLSM on glyphs of any size and color, 96 pixels.

fss prepare fss_glyphs/varied
fss train --config oslsm/general --workdir runs/general
fss calibrate --workdir runs/general --episodes 300

It is trained only on what the project renders; what it scores: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_glyphs/varied"
    c.canvas = 96
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"
    c.support_size = 96
    c.query_size = 96
    c.void = "background"

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "blocks": ((1, 16), (1, 64), (1, 128), (1, 128), (1, 256)),
            "dropout": 0.0,
            "fc6_size": 1,
            "geometry": "dilated4",
            "hidden": 256,
            "logit_scale": "sqrt",
            "norm": "batch",
            "num_outputs": 256,
            "preprocessing": "centered",
        }
    )

    c.steps = 3000
    c.batch = 16
    c.loss = "mean"
    c.foreground_weight = 2.0
    c.optimizer = "adam"
    c.lr = 0.0012
    c.schedule = "cosine"
    c.warmup = 200
    c.clip = 1.0
    c.steps_per_dispatch = 1  # a CPU gains nothing from more, and compiles each

    c.eval_every = 1000
    c.log_every = 20
    c.protocol = "uniform"
    return c
