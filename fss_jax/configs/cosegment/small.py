"""Co-segmentation at a size for two CPU cores: no weights, no masks.

python evaluate.py --config fss_jax/configs/pascal_small_cosegment.py \
    --workdir runs/cosegment_small_fold1 --config.dataset=pascal_5i/fold1_trainaug --shots 5
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small


def get_config() -> ConfigDict:
    c = pascal_small.get_config()
    c.method = "cosegment"
    c.support_size = c.query_size = 160
    # Of 1, 2, 4, 16 and 64 words the best on training classes; with 64 nothing is rare enough to vote.
    c.model = ConfigDict({"preprocessing": "unit", "words": 4})
    return c
