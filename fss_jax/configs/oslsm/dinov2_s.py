"""OSLSM with DINOv2 Small in both branches, frozen but for the last block: a conditioning head learns.

fss train --config oslsm/dinov2_s --workdir runs/oslsm_dinov2_s --config.dataset=pascal_5i/fold1_trainaug

B and L: --config.model.backbone=dinov2_vitb14_reg \
    --config.init=hub:facebook/dinov2-with-registers-base \
    --config.model.hidden=768
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
    c.support_size = 280  # 20 patches of 14
    c.query_size = 280
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "oslsm"
    c.model = ConfigDict(
        {
            "backbone": "dinov2_vits14_reg",
            "geometry": "covering",
            "hidden": 384,
            "num_outputs": 1000,
            "logit_scale": "cosine",
            "preprocessing": "torchvision",
        }
    )
    c.init = "hub:facebook/dinov2-with-registers-small"

    c.steps = 320
    c.batch = 8
    c.loss = "mean"
    c.foreground_weight = 3.0  # else a few hundred steps end in empty masks
    c.optimizer = "adam"
    c.lr = 0.0003
    c.schedule = "cosine"
    c.warmup = 20
    c.clip = 1.0
    c.lr_multipliers = (
        (".*/(cls_token|pos_embed|register_tokens|patch_embed/.*|blocks_([0-9]|10)/.*)", 0.0),
    )
    c.steps_per_dispatch = 1
    c.val_episodes = 60
    c.eval_every = 160
    c.log_every = 10

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
