"""fsCOCO of the FSS-1000 paper: COCO 2017's images, one class at a time, 60 + 20."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds

from data_builders import segmentation
from data_builders.coco_20i import instances
from data_builders.counted import Counted
from data_builders.fs_pascal import pairs

PAIRS_PER_CLASS = 600  # 48,015 pairs of the paper / 80 classes


@dataclasses.dataclass(eq=False)
class Config(pairs.Config):
    """A fold; `allow_missing` leaves out (and reports) listed images that have no file."""

    allow_missing: bool = False


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits `train` (60 classes) and `test` (20 classes).

    Attributes:
      report: what was found while preparing, a line each.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = instances.MANUAL
    BUILDER_CONFIGS = [
        Config(
            name=f"fold{fold}{suffix}",
            description=f"Every fourth class from class {fold + 1} on held out; {what}.",
            fold=fold,
            pairs_per_class=limit,
        )
        for suffix, limit, what in (
            ("", PAIRS_PER_CLASS, f"at most {PAIRS_PER_CLASS} pairs of each class"),
            ("_all", 0, "all pairs"),
        )
        for fold in range(4)
    ]
    report: list[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=segmentation.features(list(instances.CLASS_NAMES)),
            homepage="https://github.com/HKUSTCV/FSS-1000",
        )

    def _split_generators(self, dl_manager) -> dict[str, Counted]:
        self.report = []
        config, coco = self.builder_config, instances.find(dl_manager)
        scenes = [
            _scene(coco, picture)
            for part in ("train2017", "val2017")
            for picture in coco.pictures(part, config.allow_missing, self.report)
        ]
        chosen = pairs.choose(scenes, instances.held_out(config.fold), config, self.report)
        return {
            split: Counted(self._generate_examples(split, some), sum(len(c) for _, c in some))
            for split, some in chosen.items()
        }

    def _generate_examples(self, split: str, chosen):
        return pairs.examples(split, chosen, self.builder_config.skip_broken, self.report)


def _scene(coco: instances.Coco, picture: instances.Picture) -> pairs.Scene:
    return pairs.Scene(
        picture.image_id,
        (picture.height, picture.width),
        frozenset(picture.classes),
        functools.partial(_load, coco, picture),
    )


def _load(
    coco: instances.Coco, picture: instances.Picture
) -> tuple[bytes, Callable[[int], np.ndarray]]:
    layers = instances.layers(picture)

    def mask_of(class_id: int) -> np.ndarray:
        label = instances.paint(layers, picture.height, picture.width, {class_id})
        return np.where(label == class_id, np.uint8(1), label)

    return coco.image(picture).getvalue(), mask_of
