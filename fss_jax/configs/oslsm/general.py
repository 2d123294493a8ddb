"""The model that ships with the package: a small OSLSM on glyphs of any size and color, 96 pixels.

python -m data_builders.prepare fss_glyphs --config varied
python train.py --config fss_jax/configs/general.py --workdir runs/general

It is trained only on what the project renders; what it scores: docs/labelling.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.dataset = "fss_glyphs/varied"
    c.canvas = c.support_size = c.query_size = 96
    c.steps, c.batch, c.warmup = 3000, 16, 200
    c.foreground_weight = 2.0
    c.eval_every, c.log_every = 1000, 20
    return c
