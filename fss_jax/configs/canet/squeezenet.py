"""CANet on SqueezeNet: fire8 frozen as ImageNet left it, a narrow head, for a CPU.

python train.py --config fss_jax/configs/pascal_squeezenet_canet.py --workdir runs/canet_squeezenet \
    --config.dataset=pascal_5i/fold1_trainaug --config.init=torchvision:squeezenet1_0
"""

from ml_collections import ConfigDict

from fss_jax.configs import pascal_squeezenet


def get_config() -> ConfigDict:
    c = pascal_squeezenet.get_config()
    c.method = "canet"
    c.support_size = c.query_size
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "channels": 64,  # a quarter: the head runs at stride 8
            "dropout": 0.0,
            "scales": (1.0,),
            "preprocessing": "torchvision",
        }
    )
    c.init_skip = "fire9,conv10"
    c.lr = 1e-3  # of the head alone
    return c
