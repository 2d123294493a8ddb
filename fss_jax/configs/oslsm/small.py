"""OSLSM on PASCAL-5i at the size that two CPU cores train in minutes; from scratch.

python train.py --config fss_jax/configs/pascal_small.py --workdir runs/pascal_fold1 \
    --config.dataset=pascal_5i/fold1_trainaug

Scored under the published protocols all the same. Results: docs/results.md.
"""

from ml_collections import ConfigDict

from fss_jax.configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.dataset = "pascal_5i/fold1_trainaug"
    c.canvas = 500  # no PASCAL image is larger
    c.support_size, c.query_size = 128, 160
    c.rule = "shuffled_items"
    c.min_lattice_hits = 3
    c.drop_rare_classes = True  # of a subset of PASCAL
    c.model = ConfigDict(
        {
            "blocks": ((1, 16), (1, 64), (1, 128), (1, 128), (1, 256)),
            "hidden": 256,
            "fc6_size": 3,
            "num_outputs": 256,
            "norm": "batch",
            "geometry": "dilated8",
            "logit_scale": "sqrt",
            "preprocessing": "centered",
            "dropout": 0.0,
        }
    )
    c.foreground_weight = 3.0  # else 300 steps end in empty masks
    c.steps = 300
    c.batch = 16
    c.steps_per_dispatch = 1
    c.lr, c.schedule, c.warmup, c.clip = 1.2e-3, "cosine", 30, 1.0
    c.val_protocol = c.protocol = "oslsm_release"
    c.eval_every, c.log_every, c.eval_batch = 150, 10, 8
    return c
