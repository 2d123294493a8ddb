"""1-NN on the small base network's features.

python evaluate.py --config fss_jax/configs/pascal_small_nearest.py --workdir runs/nearest_small \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=workdir:runs/base_small_fold1
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small_base


def get_config() -> ConfigDict:
    c = pascal_small_base.get_config()
    c.method = "nearest"
    c.void = "background"
    c.min_lattice_hits = 3
    c.support_size = 160  # as queries: one scale of features
    del c.model.classes
    c.init_skip = "score"
    return c
