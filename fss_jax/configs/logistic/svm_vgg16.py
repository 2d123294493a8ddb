"""The linear SVM that OSLSM's authors tried beside logistic regression (OSLSM 5.1).

python evaluate.py --config fss_jax/configs/oslsm_svm.py --workdir runs/oslsm_svm_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_logistic


def get_config() -> ConfigDict:
    c = oslsm_logistic.get_config()
    c.model.loss = "squared_hinge"
    return c
