"""Siamese matching of cells on SqueezeNet.

python train.py --config fss_jax/configs/pascal_squeezenet_siamese.py --workdir runs/siamese_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "siamese"
    c.support_size = c.query_size = 160  # pairs of cells grow with the fourth power
    del c.model.logit_scale
    c.init_skip = "conv10"
    c.loss = "pairs"
    c.batch, c.steps = 8, 160
    # 512 weights of -1/512 and a bias as large as features differ: at one rate for all leaves the
    # weights lost their sign, or the features shrank, within the warm-up.
    c.lr_multipliers = (("features/.*", 0.03), ("kernel", 0.02), ("bias", 200.0))
    return c
