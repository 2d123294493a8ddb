"""PASCAL-5i: VOC 2012 (and SBD) with five classes held out, after OSLSM and its released code."""

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders import segmentation
from data_builders.counted import Counted
from data_builders.pascal_5i import sources

MANUAL = """\
Either give no folder: VOC 2012 and SBD are downloaded. Or give the folder that holds
VOCdevkit/VOC2012 (or is VOC2012), with SegmentationClass or SegmentationClassAug, and if possible
benchmark_RELEASE beside it; the archives VOCtrainval_11-May-2012.tar and benchmark.tgz do as well.
"""
TRAIN_LISTS = {
    "": ("voc_sbd", "VOC train + SBD train, an image of both kept twice"),
    "_dedup": ("voc_sbd_dedup", "VOC train + SBD train, every image once"),
    "_trainaug": ("trainaug", "the 10,582 images of trainaug.txt"),
}


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A fold, with the list its training images come from (sources.Source.training)."""

    fold: int = 0
    train_list: str = "voc_sbd"

    @property
    def held_out(self) -> range:
        """The five test classes' ids."""
        return range(5 * self.fold + 1, 5 * self.fold + 6)  # OSLSM Table 1

    @property
    def training(self) -> list[int]:
        """The fifteen training classes' ids."""
        all_classes = range(1, len(sources.CLASS_NAMES) + 1)
        return [class_id for class_id in all_classes if class_id not in self.held_out]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits `train`, `val` (both of the training classes) and `test` (of the held-out ones).

    Attributes:
      report: what was found while preparing, a line each.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = MANUAL
    BUILDER_CONFIGS = [
        Config(
            name=f"fold{fold}{suffix}",
            description=f"Classes {5 * fold + 1} to {5 * fold + 5} held out; {what}.",
            fold=fold,
            train_list=train_list,
        )
        for suffix, (train_list, what) in TRAIN_LISTS.items()
        for fold in range(4)
    ]
    report: list[str] = []

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=segmentation.features(list(sources.CLASS_NAMES)),
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        )

    def _split_generators(self, dl_manager) -> dict[str, Counted]:
        source = sources.find(dl_manager)
        config = self.builder_config
        train, self.report = source.training(config.train_list)
        val = source.validation()
        sources.check_present(train + val)
        splits = {
            "train": (train, config.training),
            "val": (val, config.training),
            "test": (val, config.held_out),
        }
        return {
            split: Counted(self._generate_examples(split, *what), len(what[0]))
            for split, what in splits.items()
        }

    def _generate_examples(
        self, split: str, pictures: list[sources.Picture], classes: Collection[int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The pictures that show one of the classes; every other class becomes background."""
        kept_values = np.zeros(256, np.uint8)
        kept_values[[*classes, segmentation.VOID]] = [*classes, segmentation.VOID]
        images = items = 0
        for picture in pictures:
            label = sources.read_label(picture.label)
            sources.check_image(picture.image, picture.label, label.shape)
            label = kept_values[label]
            found = segmentation.objects(label, {class_id: class_id for class_id in classes})
            if not found:
                continue
            images, items = images + 1, items + len(found)
            yield (
                picture.image_id,
                {
                    "image": picture.image,
                    "label": segmentation.png(label),
                    "image_id": picture.image_id,
                    "objects": found,
                },
            )
        if not images:
            raise ValueError(f"{split}: no listed image shows one of its classes {list(classes)}")
        self.report.append(
            f"{split}: {images} images, {items} (image, class) items; "
            f"{len(pictures) - images} of {len(pictures)} listed images show none of its classes"
        )
