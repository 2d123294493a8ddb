"""OSLSM on FSS-1000, a row of that paper's Table 3 (70.29 with one shot, 73.02 with five).

python train.py --config fss_jax/configs/fss1000_oslsm.py --workdir runs/fss1000_oslsm \
    --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

Trained with one shot as OSLSM is; five are the union of five answers: evaluate.py --shots 5. The
FSS-1000 paper does not say how it trained OSLSM: settings are OSLSM's own release. Not trained here
in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.dataset = "fss_1000/standard"
    c.canvas = c.query_size = 224
    c.rule = "class_uniform"
    c.min_lattice_hits = 0
    c.val_protocol = c.protocol = "fss1000_paper"
    c.val_episodes = 240
    return c
