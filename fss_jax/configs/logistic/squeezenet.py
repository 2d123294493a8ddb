"""Logistic regression on SqueezeNet's features, a base network's or ImageNet's own.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_logistic.py \
    --workdir runs/squeezenet_logistic --config.dataset=pascal_5i/fold1 \
    --config.init=workdir:runs/base_squeezenet \
    --config.init_skip=score

The strength is to be chosen on training classes: fss_jax.studies.regularization.
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet_nearest


def get_config() -> ConfigDict:
    c = pascal_squeezenet_nearest.get_config()
    c.method = "logistic"
    c.model.strength = 1.0
    return c
