"""1-NN on dense fc7 features of the base network (OSLSM 5.1; author's answer in protocols.md A.12).

python evaluate.py --config fss_jax/configs/oslsm_nearest.py --workdir runs/oslsm_nearest_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=workdir:runs/base_fold0

Support images are seen at the query's 500 pixels; the paper does not say. Not run here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base_network


def get_config() -> ConfigDict:
    c = base_network.get_config()
    c.method = "nearest"
    c.void = "background"
    c.support_size = 500
    del c.model.classes
    c.init_skip = "score"
    c.eval_batch = 1
    return c
