"""EfficientNet-Lite2 as ImageNet left it, fitted to each support in closed form: nothing is trained.

python evaluate.py --config fitted/efficientnet_lite2 --workdir runs/fitted \
    --config.dataset=pascal_5i/fold1 --config.shots=5

The weights are a package of 23 MB that is installed with this one.
Results: docs/photographs.md.
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
    c.support_size = 512  # one scale of features
    c.query_size = 512
    c.void = "background"
    c.drop_rare_classes = True  # of a subset of PASCAL

    c.method = "fitted"
    c.model = ConfigDict({"backbone": "efficientnet_lite2", "preprocessing": "torchvision"})
    c.init = "pip:efficientnet_lite2"
    c.init_skip = "conv_head,head_bn,fc"  # ImageNet's classifier

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
