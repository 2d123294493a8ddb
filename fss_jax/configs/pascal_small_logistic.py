"""Logistic regression on the small base network's features.

python evaluate.py --config fss_jax/configs/pascal_small_logistic.py --workdir runs/logistic_small \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=workdir:runs/base_small_fold1
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small_nearest


def get_config() -> ConfigDict:
    c = pascal_small_nearest.get_config()
    c.method = "logistic"
    c.model.strength = 1.0
    return c
