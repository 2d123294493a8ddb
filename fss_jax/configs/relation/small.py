"""The relation network at a size for two CPU cores: 1/8 of the width, on the glyphs at 64 pixels.

fss train --config relation/small --workdir runs/relation_small

Variants: --config.model.form=paper, --config.loss=mse, --config.shots=1, and the glyphs at FSS-1000's
own size: --config.dataset=fss_glyphs/full --config.canvas=224 --config.support_size=224
--config.query_size=224 --config.batch=2.

Each episode is normalized by its own images (`batch_norm='episode'`), in training and at test, as
the release does; several episodes a step therefore only average gradients. With
`--config.model.batch_norm=running --config.model.momentum=0.9` all episodes of a step share their
statistics and a test uses running averages: then a query's answer does not depend on its neighbors.
At 64 pixels the deepest map is 2x2, so a query batch of one leaves its BatchNorm four values.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_glyphs/tiny"
    c.canvas = 64
    c.shots = 5
    c.queries = 5
    c.rule = "class_uniform"
    c.support_size = 64
    c.query_size = 64
    c.void = "background"

    c.method = "relation"
    c.model = ConfigDict(
        {
            "backbone": "vgg16",
            "batch_norm": "episode",  # of each episode, at test too
            "form": "release",
            "momentum": 0.0,
            "preprocessing": "unit",
            "width": 0.125,
        }
    )

    c.steps = 2000
    c.batch = 8  # a CPU gains nothing from several steps a dispatch
    c.loss = "mean"  # else a few hundred steps end in empty masks
    c.foreground_weight = 3.0
    c.optimizer = "adam"
    c.lr = 0.001
    c.schedule = "cosine"
    c.warmup = 100
    c.halve_every = 80000
    c.clip = 0.5  # encoder and the rest apart
    c.clip_groups = ("encoder/.*",)
    c.steps_per_dispatch = 1

    c.val_protocol = "fss1000_paper"
    c.val_episodes = 240
    c.eval_every = 500
    c.log_every = 50
    c.protocol = "fss1000_paper"
    c.eval_batch = 8
    return c
