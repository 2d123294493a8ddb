"""DINOv2 Base with registers, frozen, fitted to each support in closed form: nothing is trained.

fss evaluate --config fitted/dinov2_b --workdir runs/fitted_dinov2_b --shots 5

Not measured: no weights could be had where this was written. Sizes and licenses: docs/backbones.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1"
    c.canvas = 518
    c.shots = 5
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 518  # 37 patches of 14
    c.query_size = 518
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "fitted"
    c.model = ConfigDict(
        {
            "backbone": "dinov2_vitb14_reg",
            "unbacked": 0.005,  # REBASE; 0 leaves it out
            "preprocessing": "torchvision",
        }
    )
    c.init = "hub:facebook/dinov2-with-registers-base"

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
