"""CANet on PASCAL-5i as published (Zhang et al., CVPR 2019, section 5.1; icoz69/CaNet), 1-shot.

fss train --config canet/resnet50 --workdir runs/canet_fold0 \\
    --config.dataset=pascal_5i/fold0_trainaug --config.init=torchvision:resnet50

The release's rate of 2.5e-4, times 10 on everything it trains, is the paper's 2.5e-3; the encoder has
none. 200 epochs are some 500,000 steps of four. Tested in several sizes:

fss evaluate --workdir runs/canet_scales --config canet/resnet50 \
    --config.init=workdir:runs/canet_fold0 --config.model.scales="(0.7, 1.0, 1.3)"

Left out: the release scales, crops and flips supports and queries at random. Not trained here in full:
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
    c.rule = "shuffled_items"
    c.support_size = 321  # CANet 5.1
    c.query_size = 321
    c.void = "background"
    c.min_lattice_hits = 3  # its lists are filtered already (protocols.md D.1)

    c.method = "canet"
    c.model = ConfigDict(
        {
            "preprocessing": "torchvision",
            "scales": (1.0,),
        }
    )
    c.init_skip = "layer4_*,fc"  # of the classifier, not in here

    c.steps = 500000
    c.batch = 4  # CANet 5.1
    c.loss = "mean"
    c.optimizer = "sgd"  # CANet 5.1
    c.momentum = 0.9
    c.lr = 0.00025
    c.schedule = "constant"
    c.weight_decay = 0.0005
    c.lr_multipliers = (("encoder/.*", 0.0), (".*", 10.0))
    c.steps_per_dispatch = 10

    c.val_protocol = "canet"
    c.eval_every = 2500
    c.log_every = 100
    c.protocol = "canet"
    c.eval_batch = 8
    return c
