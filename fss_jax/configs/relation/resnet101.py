"""FSS-1000's Table 2 on ResNet-101 (BCE 79.43, MSE 79.12), layers as in its co-author's repository.

fss train --config relation/resnet101 --workdir runs/fss1000_resnet101

The MSE row: --config.loss=mse. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_1000/standard"
    c.canvas = 224
    c.shots = 5
    c.queries = 5
    c.rule = "class_uniform"
    c.support_size = 224
    c.query_size = 224
    c.void = "background"

    c.method = "relation"
    c.model = ConfigDict(
        {
            "backbone": "resnet101",
            "batch_norm": "episode",  # of each episode, at test too
            "form": "release",
            "momentum": 0.0,
            "preprocessing": "unit",
            "source": "torchvision",  # or keras
        }
    )

    c.steps = 500000  # FSS-1000 5.1
    c.batch = 1
    c.loss = "mean"  # BCE
    c.optimizer = "adam"
    c.lr = 0.001
    c.schedule = "halving"
    c.halve_every = 50000  # FSS-1000 5.1
    c.clip = 0.5  # encoder and the rest apart
    c.clip_groups = ("encoder/.*",)
    c.steps_per_dispatch = 10

    c.val_protocol = "fss1000_paper"
    c.val_episodes = 240
    c.eval_every = 10000
    c.log_every = 100
    c.protocol = "fss1000_paper"
    c.eval_batch = 8
    return c
