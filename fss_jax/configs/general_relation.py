"""FSS-1000's relation network as printed, small, on glyphs of any size and color at 96 pixels.

python -m data_builders.prepare fss_glyphs --config varied
python train.py --config fss_jax/configs/general_relation.py --workdir runs/general_relation

1/8 of the width; the mean over shots, and running averages in BatchNorm, so that it takes any number
of supports and an answer does not depend on the other images of its batch.
"""

from ml_collections import ConfigDict

from fss_jax.configs import general


def get_config() -> ConfigDict:
    c = general.get_config()
    c.method = "relation"
    c.model = ConfigDict(
        {
            "backbone": "vgg16",
            "form": "paper",
            "width": 0.125,
            "batch_norm": "running",
            "momentum": 0.9,
            "preprocessing": "unit",
        }
    )
    c.shots, c.queries = 2, 2
    c.steps, c.batch = 800, 8
    return c
