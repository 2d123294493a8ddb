"""Siamese dense matching with a learned L1 similarity (OSLSM 5.1 and supplement B).

python train.py --config fss_jax/configs/oslsm_siamese.py --workdir runs/siamese_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel
python evaluate.py --workdir runs/siamese_fold0

5-shot keeps 0.3 of the support's pixels: --config.model.keep=0.3. The rates are ours: the paper
gives none. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.method = "siamese"
    c.support_size = c.query_size = 500
    c.model = ConfigDict({"geometry": "paper", "preprocessing": "caffe"})
    c.init_skip = "fc8"  # ImageNet's classes
    c.loss = "pairs"
    c.lr, c.weight_decay, c.lr_multipliers = 1e-5, 5e-4, ()
    c.eval_batch = 1
    return c
