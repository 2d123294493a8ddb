"""FSS-1000's baseline as its paper describes it (arXiv 1907.12347, section 4): VGG-16, BCE, 5 shots.

python train.py --config fss_jax/configs/fss1000_paper.py --workdir runs/fss1000_paper

1x1 relation convolutions, nearest upsampling, one convolution a block, skips of support and query,
the mean over shots. What the paper leaves open (BatchNorm, clipping, queries) is the release's. The
MSE row of its Table 2: --config.loss=mse. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import fss1000_release


def get_config() -> ConfigDict:
    c = fss1000_release.get_config()
    c.model.form = "paper"
    c.loss = "mean"  # BCE
    c.steps = 500_000  # FSS-1000 5.1
    c.halve_every = 50_000  # FSS-1000 5.1
    return c
