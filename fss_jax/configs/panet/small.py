"""PANet at a size for two CPU cores, from scratch: the glyphs at 64 pixels.

python train.py --config fss_jax/configs/panet_small.py --workdir runs/panet_small

On the PASCAL subset: see fss_jax/experiments/fss_table4.py. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.method = "panet"
    c.model = ConfigDict({"width": 0.25, "align": 1.0, "preprocessing": "centered"})
    c.batch = 16
    return c
