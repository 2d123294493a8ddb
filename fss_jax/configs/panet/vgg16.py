"""PANet on PASCAL-5i as published (Wang et al., ICCV 2019, section 4.1; kaixin96/PANet), 1-shot.

python train.py --config fss_jax/configs/panet.py --workdir runs/panet_fold0 \\
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
    c.support_size = c.query_size = 417  # PANet 4.1
    c.rule = "class_uniform"
    c.void = "ignore"
    c.method = "panet"
    c.model = ConfigDict({"align": 1.0, "preprocessing": "torchvision"})
    c.init_skip = "fc6,fc7,fc8"  # of the classifier, not in here
    c.batch, c.steps, c.steps_per_dispatch = 1, 30_000, 10  # PANet 4.1
    c.optimizer, c.momentum, c.lr, c.weight_decay = "sgd", 0.9, 1e-3, 5e-4  # PANet 4.1
    c.schedule, c.tenth_at = "tenths", (10_000, 20_000)
    c.val_protocol = c.protocol = "panet"
    c.eval_every, c.log_every, c.eval_batch = 5_000, 100, 8
    return c
