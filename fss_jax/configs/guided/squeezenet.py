"""Guided networks on SqueezeNet, for a CPU.

python train.py --config fss_jax/configs/pascal_squeezenet_guided.py --workdir runs/guided_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "guided"
    c.support_size = c.query_size = 160  # for time; the others see 224
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "geometry": "squeezenet",
            "init_std": 0.0,
            "dropout": 0.0,
            "preprocessing": "torchvision",
        }
    )
    c.init_skip = "conv10"
    return c
