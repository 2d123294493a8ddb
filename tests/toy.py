"""A dataset and a config small enough to train inside a test: colored squares over gray noise.

Six classes, each with its own color, four images each (two of them with another class beside it).
Label values are not class ids, so that taking one for the other shows.
`train.py --config tests/toy.py --config.data_dir=...` trains on it, too.
"""

import functools
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from ml_collections import ConfigDict

from data_builders import segmentation
from fss_jax.configs import base

COLORS = (
    (220, 40, 40),
    (40, 200, 60),
    (50, 70, 230),
    (230, 210, 40),
    (200, 60, 210),
    (50, 200, 210),
)
NAMES = ("red", "green", "blue", "yellow", "magenta", "cyan")

VALUE = 10  # what a label map adds to a class id


def _draw(class_id: int, index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng((class_id, index))
    height, width = (side, side - 8) if index % 2 else (side - 4, side)
    image = rng.integers(90, 140, (height, width, 3)).astype(np.uint8)
    label = np.zeros((height, width), np.uint8)
    other = class_id % len(COLORS) + 1
    for name, corner in [(class_id, 0), (other, 1)][: 1 + index % 2]:
        top = rng.integers(0, height // 2 - 10)
        left = rng.integers(0, width // 2 - 10) + corner * (width // 2)
        image[top : top + 14, left : left + 12] = COLORS[name - 1]
        label[top : top + 14, left : left + 12] = VALUE + name
    label[-1, :3] = segmentation.VOID
    return image, label


class ToySquares(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    SIDE = 40
    pkg_dir_path = epath.Path(__file__).parent  # TFDS cannot infer it: tests are no package

    def _info(self):
        return self.dataset_info_from_configs(features=segmentation.features(list(NAMES)))

    def _split_generators(self, dl_manager):
        return {split: self._examples(split) for split in ("train", "val", "test")}

    def _generate_examples(self):
        raise NotImplementedError

    def _examples(self, split: str):
        offset = {"train": 0, "val": 100, "test": 200}[split]
        ids = {VALUE + class_id: class_id for class_id in range(1, len(NAMES) + 1)}
        for class_id in ids.values():
            for index in range(4):
                image, label = _draw(class_id, offset + index, self.SIDE)
                image_id = f"{NAMES[class_id - 1]}_{index}"
                yield (
                    image_id,
                    {
                        "image": segmentation.png(image),
                        "label": segmentation.png(label),
                        "image_id": image_id,
                        "objects": segmentation.objects(label, ids),
                    },
                )


@functools.cache
def prepare(folder: Path) -> str:
    """Writes the dataset under `folder` and returns its name for `config.dataset`."""
    builder = ToySquares(data_dir=folder, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return "toy_squares"


def get_config() -> ConfigDict:
    """The least that trains: compiles in two seconds, a step takes a millisecond."""
    c = base.get_config()
    c.dataset, c.canvas, c.support_size, c.query_size = "toy_squares", 40, 16, 16
    c.model = ConfigDict(
        {
            "geometry": "dilated4",
            "blocks": ((1, 64), (1, 128)),
            "norm": "batch",
            "width": 1 / 8,
            "hidden": 128,
            "fc6_size": 1,
            "num_outputs": 16,
            "logit_scale": "sqrt",
            "preprocessing": "centered",
            "dropout": 0.0,
        }
    )
    c.batch, c.steps_per_dispatch, c.steps, c.eval_every, c.log_every = 4, 1, 8, 4, 2
    c.optimizer, c.momentum, c.lr = "sgd", 0.9, 0.1  # Adam would scale rounding errors up
    c.foreground_weight, c.val_episodes, c.eval_batch = 3.0, 12, 4
    return c
