"""1-NN on SqueezeNet's ImageNet features: nothing is trained.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_nearest.py --workdir runs/squeezenet_1nn \
    --config.dataset=pascal_5i/fold1 --config.init=torchvision:squeezenet1_0:squeezenet1_0.safetensors

Logistic regression: `pascal_squeezenet_logistic`. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "nearest"
    c.support_size = c.query_size  # one scale of features
    del c.model.logit_scale
    c.init_skip = "conv10"
    return c
