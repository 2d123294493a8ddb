"""Guided networks on PASCAL-5i as their release trains them (shelhamer/revolver, 1-shot).

fss train --config guided/vgg16 --workdir runs/guided_fold0 \\
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
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"
    c.support_size = 500
    c.query_size = 500
    c.void = "ignore"

    c.method = "guided"
    c.model = ConfigDict(
        {
            "geometry": "release",
            "preprocessing": "caffe",
        }
    )
    c.init_skip = "fc6,fc7,fc8"  # of the classifier, with 4096 channels; these have 256

    c.steps = 100000
    c.batch = 1
    c.loss = "mean"
    c.optimizer = "sgd"
    c.lr = 1e-05
    c.schedule = "constant"
    c.weight_decay = 0.0005
    c.steps_per_dispatch = 10

    c.eval_every = 4000
    c.log_every = 100
    c.protocol = "uniform"
    c.eval_batch = 8
    return c
