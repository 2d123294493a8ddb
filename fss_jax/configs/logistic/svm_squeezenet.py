"""A linear SVM on SqueezeNet's features, a base network's or ImageNet's own.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_svm.py --workdir runs/squeezenet_svm \
    --config.dataset=pascal_5i/fold1 --config.init=workdir:runs/base_squeezenet \
    --config.init_skip=score
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet_logistic


def get_config() -> ConfigDict:
    c = pascal_squeezenet_logistic.get_config()
    c.model.loss = "squared_hinge"
    return c
