"""PANet on DINOv2 Small, frozen: a rotation of its features is all that learns.

fss train --config panet/dinov2_s --workdir runs/panet_dinov2_s --config.dataset=pascal_5i/fold1_trainaug

B and L: --config.model.backbone=dinov2_vitb14_reg \
    --config.init=hub:facebook/dinov2-with-registers-base
Not measured: no weights could be had where this was written. See docs/backbones.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1"
    c.canvas = 518
    c.shots = 1
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 420  # 30 patches of 14
    c.query_size = 420
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "panet"
    c.model = ConfigDict(
        {
            "backbone": "dinov2_vits14_reg",
            "projection": 384,
            "align": 1.0,
            "preprocessing": "torchvision",
        }
    )
    c.init = "hub:facebook/dinov2-with-registers-small"

    c.features = "float16"  # the backbone is frozen: each image passes it once
    c.steps = 320
    c.batch = 8
    c.loss = "mean"
    c.foreground_weight = 3.0  # else a few hundred steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 1.0
    c.steps_per_dispatch = 1
    c.val_episodes = 60
    c.eval_every = 160
    c.log_every = 10

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
