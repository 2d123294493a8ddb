"""The last step of FSS-1000's Table 5, row IV: a network trained on FSS-1000, tuned on fsCOCO.

fss train --config relation/fs_coco_finetune --workdir runs/fs_coco \
    --init workdir:runs/fss1000_paper

The whole table: fss experiments fss_table5. As long as every other network of the paper (section 5).
fsCOCO has no validation classes: the best checkpoint is chosen on training classes. Not trained here
in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "fs_coco/fold0"
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
            "form": "paper",
            "momentum": 0.0,
            "preprocessing": "unit",
        }
    )

    c.steps = 500000  # FSS-1000 5
    c.batch = 1
    c.loss = "mean"  # BCE
    c.optimizer = "adam"
    c.lr = 0.0001  # FSS-1000 Table 5, caption
    c.schedule = "halving"
    c.halve_every = 50000  # FSS-1000 5
    c.clip = 0.5  # encoder and the rest apart
    c.clip_groups = ("encoder/.*",)
    c.steps_per_dispatch = 10

    c.val_split = "train"
    c.val_protocol = "fss_random"
    c.val_episodes = 240
    c.eval_every = 10000
    c.log_every = 100
    c.protocol = "fss_random"
    c.eval_batch = 8
    return c
