"""COCO-20i: COCO 2017 with 20 of its 80 classes held out, in two kinds of folds."""

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import tensorflow_datasets as tfds

from data_builders import segmentation
from data_builders.coco_20i import instances
from data_builders.counted import Counted


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """A fold.

    Attributes:
      fold: 0 to 3.
      blocks: hold out 20 successive classes instead of every fourth one.
      allow_missing: leave out (and report) listed images that have no file, instead of stopping.
      skip_broken: leave out (and report) images that can not be read, instead of stopping.
    """

    fold: int = 0
    blocks: bool = False
    allow_missing: bool = False
    skip_broken: bool = False


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits `train`, `val` (both of the training classes) and `test` (of the held-out ones).

    Attributes:
      report: what was found while preparing, a line each.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = instances.MANUAL
    BUILDER_CONFIGS = [
        Config(
            name=f"fold{fold}{'_block' * blocks}",
            description=f"Held out: {'20 successive classes' if blocks else 'every fourth class'}"
            f" from class {instances.held_out(fold, blocks)[0]} on.",
            fold=fold,
            blocks=blocks,
        )
        for blocks in (False, True)
        for fold in range(4)
    ]
    report: list[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=segmentation.features(list(instances.CLASS_NAMES)),
            homepage="https://cocodataset.org",
        )

    def _split_generators(self, dl_manager) -> dict[str, Counted]:
        self.report = []
        config, coco = self.builder_config, instances.find(dl_manager)
        train, val = (
            coco.pictures(part, config.allow_missing, self.report)
            for part in ("train2017", "val2017")
        )
        novel = set(instances.held_out(config.fold, config.blocks))
        base = set(range(1, 81)) - novel
        splits = {"train": (train, base), "val": (val, base), "test": (val, novel)}
        return {
            split: Counted(
                self._generate_examples(split, coco, pictures, classes),
                sum(not picture.classes.isdisjoint(classes) for picture in pictures),
            )
            for split, (pictures, classes) in splits.items()
        }

    def _generate_examples(
        self,
        split: str,
        coco: instances.Coco,
        pictures: list[instances.Picture],
        classes: Collection[int],
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The pictures that show one of the classes; every other class becomes background."""
        images = items = crowds = hidden = 0
        for picture in pictures:
            wanted = picture.classes.intersection(classes)
            if not wanted:
                continue
            try:
                image = coco.image(picture)
                layers = instances.layers(picture)
            except ValueError as error:
                if not self.builder_config.skip_broken:
                    raise ValueError(f"{error}; or --option skip_broken=true") from None
                self.report.append(f"{split}: {error}; left out")
                continue
            label = instances.paint(layers, picture.height, picture.width, classes)
            found = segmentation.objects(label, {class_id: class_id for class_id in wanted})
            hidden += len(wanted) - len(found)
            if not found:
                continue
            images, items = images + 1, items + len(found)
            crowds += sum(layer.crowd and layer.class_id in classes for layer in layers)
            yield (
                picture.image_id,
                {
                    "image": image,
                    "label": segmentation.png(label),
                    "image_id": picture.image_id,
                    "objects": found,
                },
            )
        if not images:
            raise ValueError(f"{split}: no listed image shows one of its {len(classes)} classes")
        self.report.append(
            f"{split}: {images} images, {items} (image, class) items; {len(pictures) - images} of "
            f"{len(pictures)} listed images left out, without a pixel of its classes; {crowds} crowd "
            f"regions are void; {hidden} items vanish behind smaller objects or under a pixel's size"
        )
