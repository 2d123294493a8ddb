"""A small OSLSM on the embedded glyphs: minutes on two CPU cores (`make quickstart`).

python train.py --config fss_jax/configs/quickstart.py --workdir runs/quickstart
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.model = ConfigDict(
        {
            "blocks": ((1, 16), (1, 64), (1, 128), (1, 128), (1, 256)),
            "hidden": 256,
            "fc6_size": 1,
            "num_outputs": 256,
            "norm": "batch",
            "geometry": "dilated4",
            "logit_scale": "sqrt",
            "preprocessing": "centered",
            "dropout": 0.0,
        }
    )
    c.steps = 1000
    c.batch = 32
    c.steps_per_dispatch = 1  # a CPU gains nothing from more, and compiles each
    c.foreground_weight = 3.0
    c.lr, c.schedule, c.warmup, c.clip = 1.2e-3, "cosine", 100, 1.0
    c.eval_every = 500
    return c
