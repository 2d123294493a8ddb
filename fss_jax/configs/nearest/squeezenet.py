"""1-NN on SqueezeNet's features, a base network's or ImageNet's own: nothing is trained here.

python evaluate.py --config fss_jax/configs/pascal_squeezenet_nearest.py --workdir runs/squeezenet_1nn \
    --config.dataset=pascal_5i/fold1 --config.init=workdir:runs/base_squeezenet \
    --config.init_skip=score

ImageNet's: --config.init=torchvision:squeezenet1_0 without --config.init_skip. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "nearest"
    c.support_size = c.query_size  # one scale of features
    del c.model.logit_scale
    c.init_skip = "conv10"
    c.eval_batch = 4
    return c
