"""PANet on PASCAL-5i as published (Wang et al., ICCV 2019, section 4.1; kaixin96/PANet), 1-shot.

fss train --config panet/vgg16 --workdir runs/panet_fold0 \\
    --config.dataset=pascal_5i/fold0_trainaug --config.init=torchvision:vgg16

Five shots: --config.shots=5. Left out: the release flips episodes at random. Not trained here in full:
no GPU and no full PASCAL were at hand.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"
    c.support_size = 417  # PANet 4.1
    c.query_size = 417
    c.void = "ignore"

    c.method = "panet"
    c.model = ConfigDict(
        {
            "align": 1.0,
            "preprocessing": "torchvision",
        }
    )
    c.init_skip = "fc6,fc7,fc8"  # of the classifier, not in here

    c.steps = 30000
    c.batch = 1  # PANet 4.1
    c.loss = "mean"
    c.optimizer = "sgd"  # PANet 4.1
    c.momentum = 0.9
    c.lr = 0.001
    c.schedule = "tenths"
    c.tenth_at = (10000, 20000)
    c.weight_decay = 0.0005
    c.steps_per_dispatch = 10

    c.val_protocol = "panet"
    c.eval_every = 5000
    c.log_every = 100
    c.protocol = "panet"
    c.eval_batch = 8
    return c
