"""OSLSM on EfficientNet-Lite2, frozen in both branches: what the conditioning puts out is learned.

fss train --config oslsm/efficientnet_lite2 --workdir runs/oslsm_lite \
    --config.dataset=pascal_5i/fold1_trainaug

The weights come with this package. Results: docs/results.md.
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
    c.support_size = 160
    c.query_size = 224
    c.void = "background"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "backbone": "efficientnet_lite2",
            "dropout": 0.0,
            "geometry": "covering",
            "hidden": 120,
            "logit_scale": "cosine",  # pretrained features are large
            "preprocessing": "torchvision",
        }
    )
    c.init = "pip:efficientnet_lite2"
    c.init_skip = "block15,block16,block17,block18,block19,block20,conv_head,head_bn,fc"

    c.steps = 320
    c.batch = 8
    c.loss = "mean"
    c.foreground_weight = 3.0  # else 300 steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.001  # of fc8 alone
    c.lr_multipliers = ((".*/(conv_stem|stem_bn|block[0-9]+)/.*", 0.0),)
    c.schedule = "cosine"
    c.warmup = 30
    c.clip = 1.0
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.val_episodes = 60
    c.eval_every = 160
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
