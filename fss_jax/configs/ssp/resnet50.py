"""SSP on PASCAL-5i as published (Fan et al., ECCV 2022, section 4; fanq15/SSP), 1-shot.

fss train --config ssp/resnet50 --workdir runs/ssp_fold0 \
    --config.dataset=pascal_5i/fold0_trainaug --config.init=torchvision:resnet50

The release's ResNet has a stem of three convolutions and weights of its own; this one's are
torchvision's. The release crops at random. Not trained here in full: no GPU and no full PASCAL were at
hand.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold0_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 473  # SSP 4
    c.query_size = 473
    c.void = "background"

    c.method = "ssp"
    c.model = ConfigDict({"backbone": "resnet50", "refine": True, "preprocessing": "torchvision"})
    c.init_skip = "layer4_*,fc"

    c.steps = 24000
    c.batch = 4
    c.loss = "ssp"
    c.optimizer = "sgd"
    c.momentum = 0.9
    c.lr = 0.001
    c.schedule = "tenths"
    c.tenth_at = (8000, 16000)
    c.weight_decay = 0.0005
    c.lr_multipliers = (  # stem, first stage and every BatchNorm stay
        ("encoder/(conv1|bn1|layer1_.*)/.*", 0.0),
        (".*/(bn[123]|downsample_bn)/.*", 0.0),
    )
    c.steps_per_dispatch = 10

    c.val_protocol = "pfenet"
    c.eval_every = 1000
    c.log_every = 100
    c.protocol = "pfenet"
    c.eval_batch = 4
    return c
