"""CANet at a size for two CPU cores, from scratch: the glyphs at 64 pixels.

fss train --config canet/small --workdir runs/canet_small

Without ImageNet weights the encoder must learn, too (`backbone_learns`). On the PASCAL subset: see
fss_jax/experiments/fss_table4.py. Results: docs/results.md.
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

    c.method = "canet"
    c.model = ConfigDict(
        {
            "batch_norm": "running",
            "dropout": 0.0,
            "backbone_learns": True,
            "preprocessing": "centered",
            "width": 0.125,
        }
    )

    c.steps = 1000
    c.batch = 16
    c.loss = "mean"
    c.foreground_weight = 3.0
    c.optimizer = "adam"
    c.lr = 0.0012
    c.schedule = "cosine"
    c.warmup = 100
    c.clip = 1.0
    c.steps_per_dispatch = 1  # a CPU gains nothing from more, and compiles each

    c.eval_every = 500
    c.protocol = "uniform"
    return c
