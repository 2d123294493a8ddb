"""Fine-tuning of a BatchNorm and a classifier on DINOv2 Small's features, on each support.

fss evaluate --config finetune/dinov2_s --workdir runs/finetune_dinov2_s

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
    c.support_size = 518  # 37 patches of 14
    c.query_size = 518
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "finetune"
    c.model = ConfigDict(
        {
            "backbone": "dinov2_vits14_reg",
            "geometry": "covering",
            "hidden": 384,
            "preprocessing": "torchvision",
            "steps": 50,
            "learning_rate": 0.001,
        }
    )
    c.init = "hub:facebook/dinov2-with-registers-small"

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
