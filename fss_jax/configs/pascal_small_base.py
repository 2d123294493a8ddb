"""The base network at `pascal_small`'s size, from scratch.

python -m fss_jax.base_network --config fss_jax/configs/pascal_small_base.py \
    --workdir runs/base_small_fold1 --config.dataset=pascal_5i/fold1_trainaug
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small


def get_config() -> ConfigDict:
    c = pascal_small.get_config()
    c.method = "base"
    c.rule = "class_uniform"
    c.min_lattice_hits = 0
    c.void = "ignore"
    del c.model.num_outputs, c.model.logit_scale
    c.model.classes = 16
    c.batch, c.steps = 4, 240  # of two images
    c.eval_every = 120
    return c
