"""The model that ships with the package: a small OSLSM on glyphs of any size and color, 96 pixels.

python -m data_builders.prepare fss_glyphs --config varied
python train.py --config fss_jax/configs/general.py --workdir runs/general

It is trained only on what the project renders. `general_relation` is the other candidate, not trained
yet; what this one scores: docs/labelling.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.dataset = "fss_glyphs/varied"
    c.canvas = c.support_size = c.query_size = 96
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
    c.steps, c.batch = 800, 16
    c.steps_per_dispatch = 1  # a CPU gains nothing from more, and compiles each
    c.foreground_weight = 2.0
    c.lr, c.schedule, c.warmup, c.clip = 1.2e-3, "cosine", 80, 1.0
    c.val_episodes, c.eval_every, c.log_every = 200, 400, 20
    return c
