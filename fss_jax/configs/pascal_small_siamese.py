"""The Siamese network at `pascal_small`'s size, trained from scratch on pairs of cells.

python train.py --config fss_jax/configs/pascal_small_siamese.py --workdir runs/siamese_small_fold1 \
    --config.dataset=pascal_5i/fold1_trainaug
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small


def get_config() -> ConfigDict:
    c = pascal_small.get_config()
    c.method = "siamese"
    c.support_size = c.query_size = 128
    del c.model.num_outputs, c.model.logit_scale
    c.loss = "pairs"
    c.batch, c.steps, c.eval_every = 4, 120, 60
    return c
