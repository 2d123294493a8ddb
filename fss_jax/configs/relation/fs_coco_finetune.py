"""The last step of FSS-1000's Table 5, row IV: a network trained on FSS-1000, tuned on fsCOCO.

python train.py --config fss_jax/configs/fs_coco_finetune.py --workdir runs/fs_coco \
    --init_from runs/fss1000_paper

The whole table: python -m fss_jax.experiments fss_table5. The number of episodes is not published;
ours is a fifth of the first training. fsCOCO has no validation classes: the best checkpoint is chosen
on training classes. Not trained here in full.
"""

from ml_collections import ConfigDict

from fss_jax.configs import fss1000_paper


def get_config() -> ConfigDict:
    c = fss1000_paper.get_config()
    c.dataset = "fs_coco/fold0"
    c.lr = 1e-4  # FSS-1000 5.1
    c.steps, c.halve_every = 100_000, 10_000
    c.val_split = "train"
    c.val_protocol = c.protocol = "fss_random"
    return c
