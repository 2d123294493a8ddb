"""Guided networks on PASCAL-5i as their release trains them (shelhamer/revolver, 1-shot).

python train.py --config fss_jax/configs/guided.py --workdir runs/guided_fold0 \\
    --config.dataset=pascal_5i/fold0_trainaug --config.init=caffe:vgg16

SGD, one episode a step, 100,000 steps, the mean cross entropy of the pixels that are not void. Queries
are seen at 500 px, not at their own sizes; supports are dense masks, where the release also draws a
random number of points. Not trained here in full: no GPU and no full PASCAL were at hand.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.dataset = "pascal_5i/fold0_trainaug"
    c.canvas = c.support_size = c.query_size = 500  # no PASCAL image is larger
    c.rule = "class_uniform"
    c.void = "ignore"
    c.method = "guided"
    c.model = ConfigDict({"geometry": "release", "preprocessing": "caffe"})
    c.init_skip = "fc6,fc7,fc8"  # of the classifier, with 4096 channels; these have 256
    c.batch, c.steps, c.steps_per_dispatch = 1, 100_000, 10
    c.optimizer, c.momentum, c.lr, c.weight_decay = "sgd", 0.99, 1e-5, 5e-4
    c.val_protocol = c.protocol = "uniform"
    c.eval_every, c.log_every, c.eval_batch = 4_000, 100, 8
    return c
