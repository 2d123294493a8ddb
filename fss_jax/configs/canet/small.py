"""CANet at a size for two CPU cores, from scratch: the glyphs at 64 pixels.

python train.py --config fss_jax/configs/canet_small.py --workdir runs/canet_small

Without ImageNet weights the encoder must learn, too (`frozen`). On the PASCAL subset: see
fss_jax/experiments/fss_table4.py. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.method = "canet"
    c.model = ConfigDict(
        {
            "width": 0.125,
            "frozen": False,
            "batch_norm": "running",
            "dropout": 0.0,
            "preprocessing": "centered",
        }
    )
    c.batch = 16
    return c
