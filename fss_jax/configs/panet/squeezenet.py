"""PANet on SqueezeNet: ImageNet's features and nearly nothing to learn, for a CPU.

python train.py --config fss_jax/configs/pascal_squeezenet_panet.py --workdir runs/panet_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "panet"
    c.support_size = c.query_size
    c.model = ConfigDict(
        {"backbone": "squeezenet1_0", "align": 1.0, "preprocessing": "torchvision"}
    )
    c.init_skip = "conv10"
    return c
