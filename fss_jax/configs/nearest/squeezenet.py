"""1-NN on SqueezeNet's features, a base network's or ImageNet's own: nothing is trained here.

fss evaluate --config nearest/squeezenet --workdir runs/squeezenet_1nn \
    --config.dataset=pascal_5i/fold1 --config.init=workdir:runs/base_squeezenet \
    --config.init_skip=score

ImageNet's: --config.init=torchvision:squeezenet1_0 without --config.init_skip. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 224  # one scale of features
    c.query_size = 224
    c.void = "background"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "nearest"
    c.model = ConfigDict(
        {
            "backbone": "squeezenet1_0",
            "dropout": 0.0,
            "geometry": "squeezenet",
            "hidden": 512,
            "preprocessing": "torchvision",
        }
    )
    c.init_skip = "conv10"

    c.steps = 160
    c.batch = 16
    c.loss = "mean"
    c.foreground_weight = 3.0  # else 300 steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 30
    c.clip = 1.0
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.eval_every = 80
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 4
    return c
