"""OSLSM with SqueezeNet 1.0 in both branches, on PASCAL-5i: the pretrained row that a CPU can train.

python train.py --config fss_jax/configs/pascal_squeezenet.py --workdir runs/pascal_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug \
    --config.init=torchvision:squeezenet1_0

Without --config.init it trains from scratch. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_small


def get_config() -> ConfigDict:
    c = pascal_small.get_config()
    c.support_size, c.query_size = 160, 224
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "geometry": "squeezenet",
            "hidden": 512,
            "logit_scale": "cosine",  # pretrained features are large
            "preprocessing": "torchvision",
            "dropout": 0.0,
        }
    )
    c.lr, c.steps, c.eval_every = 3e-4, 160, 80
    return c
