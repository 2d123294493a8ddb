"""Guided networks at a size for two CPU cores, from scratch: the glyphs at 64 pixels.

python train.py --config fss_jax/configs/guided_small.py --workdir runs/guided_small

Without ImageNet weights it takes BatchNorm and He's initialization of fc6 and fc7; and a finer stride
for small pictures. On the PASCAL subset: fss_jax/experiments/fss_table4.py. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import quickstart


def get_config() -> ConfigDict:
    c = quickstart.get_config()
    c.method = "guided"
    c.model = ConfigDict(
        {
            "width": 0.25,
            "hidden": 512,
            "norm": "batch",
            "geometry": "dilated8",
            "init_std": 0.0,
            "dropout": 0.0,
            "preprocessing": "centered",
        }
    )
    c.batch = 16
    return c
