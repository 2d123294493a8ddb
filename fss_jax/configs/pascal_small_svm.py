"""A linear SVM on the small base network's features.

python evaluate.py --config fss_jax/configs/pascal_small_svm.py --workdir runs/svm_small \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=workdir:runs/base_small_fold1
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small_logistic


def get_config() -> ConfigDict:
    c = pascal_small_logistic.get_config()
    c.model.loss = "squared_hinge"
    return c
