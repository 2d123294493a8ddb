"""OSLSM over a dilated FCN of stride 8 (Yu and Koltun): 37.0 and 37.43 on fold 0 (OSLSM 4.4).

python train.py --config fss_jax/configs/oslsm_dilated.py --workdir runs/oslsm_dilated_fold0 \
    --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel
"""

from ml_collections import ConfigDict

from fss_jax.configs import oslsm_release


def get_config() -> ConfigDict:
    c = oslsm_release.get_config()
    c.model.geometry = "dilated8"
    return c
