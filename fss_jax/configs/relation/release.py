"""FSS-1000's baseline as its released code trains it (protocols.md B.1, B.2): VGG-16, MSE, 5 shots.

fss prepare fss_1000
fss train --config relation/release --workdir runs/fss1000_release

Fewer or more shots: --config.shots=1, or --config.shots=7 --config.queries=3 (a class has ten
images). The form sums over shots, so that each number of shots is a model of its own.

One episode a step, as released. More of them a step (--config.batch=8) change nothing in the
normalization, which is per episode (`batch_norm='episode'`), only the gradient: then it is their mean
over more episodes, and 1/8 of the steps see as many of them. With `batch_norm='batch'` all supports
(or queries) of a device's episodes share their statistics; these are less noisy, but at test, with
one episode, the network would meet others than it was trained on.

Not trained here in full: 800,000 episodes are days of a GPU.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fss_1000/standard"
    c.canvas = 224
    c.shots = 5
    c.queries = 5
    c.rule = "class_uniform"
    c.support_size = 224
    c.query_size = 224
    c.void = "background"

    c.method = "relation"
    c.model = ConfigDict(
        {
            "backbone": "vgg16",
            "batch_norm": "episode",  # of each episode, at test too
            "form": "release",
            "momentum": 0.0,
            "preprocessing": "unit",
        }
    )

    c.steps = 800000
    c.batch = 1
    c.loss = "mse"
    c.optimizer = "adam"
    c.lr = 0.001
    c.schedule = "halving"
    c.halve_every = 80000
    c.clip = 0.5  # encoder and the rest apart
    c.clip_groups = ("encoder/.*",)
    c.steps_per_dispatch = 10

    c.val_protocol = "fss1000_paper"
    c.val_episodes = 240
    c.eval_every = 10000
    c.log_every = 100
    c.protocol = "fss1000_paper"
    c.eval_batch = 8
    return c
