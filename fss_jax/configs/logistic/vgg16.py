"""Logistic regression on dense fc7 features of the base network (OSLSM 5.1).

python evaluate.py --config fss_jax/configs/oslsm_logistic.py --workdir runs/oslsm_logistic_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0

The strength is to be chosen on the training classes of each fold (the paper does not give its own):
python -m fss_jax.studies.regularization --config fss_jax/configs/oslsm_logistic.py \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_nearest


def get_config() -> ConfigDict:
    c = oslsm_nearest.get_config()
    c.method = "logistic"
    c.model.strength = 1.0
    return c
