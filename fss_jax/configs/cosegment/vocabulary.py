"""Co-segmentation by composition, the unsupervised row of OSLSM's Table 1: no weights, no masks.

python evaluate.py --config fss_jax/configs/oslsm_cosegment.py --workdir runs/cosegment_fold0 \
    --config.dataset=pascal_5i/fold0 --shots 5
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.method = "cosegment"
    c.support_size = c.query_size = 500
    c.model = ConfigDict({"preprocessing": "unit"})
    c.eval_batch = 2
    return c
