"""OSLSM as its paper describes it (arXiv 1709.03410, section 4.3), where that differs from the release.

fss train --config oslsm/paper --workdir runs/oslsm_paper_fold0 \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:vgg16:VGG_ILSVRC_16_layers.caffemodel

FCN's own padding, one hash for all 4097 numbers, images drawn before classes, one episode an update,
no weight decay, 0.1 for the whole conditioning branch, every image that shows a class however small
(min_lattice_hits=3 is the release's filter). With --config.model.geometry=paper_order the
sigmoid comes before the upsampling, as in its Equation 2. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "image_then_class"
    c.support_size = 224
    c.query_size = 0  # queries at their own size
    c.void = "background"

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "geometry": "paper",
            "hash_form": "joint",
            "preprocessing": "caffe",
        }
    )

    c.steps = 60000
    c.batch = 1  # iter_size
    c.loss = "sum"
    c.optimizer = "sgd"
    c.lr = 1e-10
    c.schedule = "constant"
    c.lr_multipliers = (("conditioning/.*", 0.1),)
    c.steps_per_dispatch = 10

    c.val_protocol = "oslsm_paper"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "oslsm_paper"
    c.eval_batch = 8
    return c
