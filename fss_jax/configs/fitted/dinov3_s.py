"""DINOv3 Small, frozen, fitted to each support in closed form: nothing is trained.

fss evaluate --config fitted/dinov3_s --workdir runs/fitted_dinov3_s --shots 5

The hub gives these weights to who accepted their license: docs/backbones.md. Not measured: no weights
could be had where this was written.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()

    c.dataset = "pascal_5i/fold1"
    c.canvas = 512
    c.shots = 5
    c.queries = 1
    c.rule = "shuffled_items"
    c.support_size = 512  # 32 patches of 16
    c.query_size = 512
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "fitted"
    c.model = ConfigDict(
        {
            "backbone": "dinov3_vits16",
            "unplaced": 10,  # 20 of 768 for B, INSID3; 0 leaves it out
            "unbacked": 0.005,  # REBASE; 0 leaves it out
            "preprocessing": "torchvision",
        }
    )
    c.init = "hub:facebook/dinov3-vits16-pretrain-lvd1689m"

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
