"""OSLSM with AlexNet in both branches (OSLSM 7.1, Figure 3; fold 0).

fss train --config oslsm/alexnet --workdir runs/oslsm_alexnet \
    --config.dataset=pascal_5i/fold0 --config.init=caffe:alexnet

Initial weights: ImageNet's 1000 classes as above; the 771 classes that are not PASCAL's
(data_builders/pascal_5i/imagenet_classes.csv lists the other 229) with
--config.init=caffe:alexnet:FILE --config.model.num_outputs=771, FILE being the model of Huh et al.
(minyoungg/wmigftl, pascal_removed.tar) or one of your own; none, without --config.init. torchvision's
AlexNet: --config.model.backbone=alexnet --config.init=torchvision:alexnet.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 224
    c.query_size = 0  # queries at their own size
    c.void = "background"
    c.min_lattice_hits = 3

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "backbone": "caffe_alexnet",
            "geometry": "release",
            "num_outputs": 1000,
            "hash_form": "separate",
            "preprocessing": "caffe",
        }
    )

    c.steps = 60000
    c.batch = 10  # iter_size
    c.loss = "sum"
    c.optimizer = "sgd"
    c.lr = 1e-09  # ours: the paper gives VGG's alone
    c.schedule = "constant"
    c.weight_decay = 0.0005  # weights only
    c.lr_multipliers = (
        ("conditioning/.*/kernel", 0.1),
        ("conditioning/.*/bias", 0.2),
        ("segmentation/.*/bias", 2.0),
    )
    c.steps_per_dispatch = 10

    c.val_protocol = "oslsm_release"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "oslsm_release"
    c.eval_batch = 8
    return c
