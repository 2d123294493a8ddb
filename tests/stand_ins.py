"""Datasets of any name, a few small pictures each: enough to index, to draw lists from, to plan with."""

import functools
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from data_builders import segmentation

CLASSES, IMAGES = 6, 12
SIDE = 48


class StandIn(tfds.core.GeneratorBasedBuilder):
    """One square a picture. What it says of an object's size is that of a large photograph's."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = epath.Path(__file__).parent

    def _info(self):
        names = [f"class_{c}" for c in range(1, CLASSES + 1)]
        return self.dataset_info_from_configs(features=segmentation.features(names))

    def _split_generators(self, dl_manager):
        return {split: self._examples() for split in ("train", "val", "test")}

    def _generate_examples(self):
        raise NotImplementedError

    def _examples(self):
        image, label = np.full((SIDE, SIDE, 3), 128, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        image[8:40, 8:40], label[8:40, 8:40] = 200, 1
        for class_id in range(1, CLASSES + 1):
            for number in range(1, IMAGES + 1):
                (found,) = segmentation.objects(label, {1: class_id})
                image_id = f"class_{class_id}/{number:02d}"
                yield (
                    image_id,
                    {
                        "image": segmentation.png(image),
                        "label": segmentation.png(label),
                        "image_id": image_id,
                        "objects": [{**found, "area": 10_000, "lattice_hits": 9}],
                    },
                )


@functools.cache
def _prepared(folder: Path) -> Path:
    builder = StandIn(data_dir=folder / "stand_in", file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


def prepare(folder: Path, *datasets: str) -> None:
    """Makes NAME/CONFIG in a data_dir, all of them the same."""
    for name in datasets:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "1.0.0").symlink_to(_prepared(folder).absolute())
