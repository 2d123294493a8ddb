"""HSNet on PASCAL-5i as published (Min et al., ICCV 2021, section 5; juhongm999/hsnet), 1-shot.

fss train --config hsnet/vgg16 --workdir runs/hsnet_fold0 \
    --config.dataset=pascal_5i/fold0_trainaug --config.init=torchvision:vgg16

ResNets: --config.model.backbone=resnet50 --config.init=torchvision:resnet50 --config.init_skip=fc
Trained until the validation saturates, about two days on four GPUs: 2,000 epochs of 20 at most.
The release scores the episodes that it validates by. Not trained here in full: no GPU and no full
PASCAL were at hand; docs/results.md has the commands for a subset.
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
    c.support_size = 400  # HSNet 5
    c.query_size = 400
    c.void = "background"

    c.method = "hsnet"
    c.model = ConfigDict({"backbone": "vgg16", "preprocessing": "torchvision"})
    c.init_skip = "fc6,fc7,fc8"

    c.steps = 500000
    c.batch = 20
    c.loss = "mean"
    c.optimizer = "adam"
    c.lr = 0.001
    c.schedule = "constant"
    c.steps_per_dispatch = 10

    c.val_protocol = "hsnet"
    c.val_episodes = 1000
    c.eval_every = 1000
    c.log_every = 100
    c.protocol = "hsnet"
    c.eval_batch = 4
    return c
