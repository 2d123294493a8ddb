"""Logistic regression on SqueezeNet's ImageNet features, on PASCAL-5i, at a size for a CPU.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_logistic.py \
    --workdir runs/squeezenet_logistic --config.dataset=pascal_5i/fold1_trainaug \
    --config.init=torchvision:squeezenet1_0:squeezenet1_0.safetensors
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet_nearest


def get_config() -> ConfigDict:
    c = pascal_squeezenet_nearest.get_config()
    c.method = "logistic"
    c.support_size = c.query_size = 160
    c.model.strength = 1.0
    c.init = "torchvision:squeezenet1_0"
    return c
