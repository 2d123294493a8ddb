"""The relation network at a size for two CPU cores: 1/8 of the width, on the glyphs at 64 pixels.

python train.py --config fss_jax/configs/relation_small.py --workdir runs/relation_small

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

from fss_jax.configs import fss1000_release


def get_config() -> ConfigDict:
    c = fss1000_release.get_config()
    c.dataset = "fss_glyphs/tiny"
    c.canvas = c.support_size = c.query_size = 64
    c.model.width = 0.125
    c.loss, c.foreground_weight = "mean", 3.0  # else a few hundred steps end in empty masks
    c.batch, c.steps_per_dispatch = 8, 1  # a CPU gains nothing from several steps a dispatch
    c.steps, c.warmup, c.schedule = 2000, 100, "cosine"
    c.eval_every, c.log_every = 500, 50
    return c
