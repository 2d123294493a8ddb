"""The base network of OSLSM's comparison methods on SqueezeNet: 16-way, on a fold's training classes.

python -m fss_jax.training.base_network --config fss_jax/configs/pascal_squeezenet_base.py \
    --workdir runs/base_squeezenet --config.dataset=pascal_5i/fold1_trainaug \
    --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "base"
    c.rule = "class_uniform"  # both images of a record are trained on
    c.min_lattice_hits = 0
    c.void = "ignore"
    c.support_size = c.query_size
    del c.model.logit_scale
    c.model.classes = 16
    c.init_skip = "conv10"
    c.batch, c.steps, c.eval_every = 4, 400, 200  # of two images
    return c
