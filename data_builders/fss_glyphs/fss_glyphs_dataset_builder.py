"""The embedded dataset: FSS-1000's shape, made at prepare time, nothing to download."""

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from data_builders import segmentation
from data_builders.counted import Counted
from data_builders.fss_glyphs import glyphs
from data_builders.fss_glyphs.painting import IMAGES_PER_CLASS, Painter

MIN_CLASSES = 9  # every split then has two, the least that a distractor needs


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """How the pictures are made.

    Attributes:
      size: pixels per side.
      cues: give every class a color and texture of its own; without, only its shape tells it.
      seed: of everything random in the pictures. The classes and their split stay.
      varied: objects of any size and muted colors, too (see the README).
      classes: how many classes in all, for a small dataset with the same proportions of splits.
    """

    size: int = 224
    cues: bool = True
    seed: int = 0
    varied: bool = False
    classes: int = sum(glyphs.SPLITS.values())


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits by class: train 520, val 240, test 240 classes, ten pictures each."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        Config(name="full", description="224 x 224 pixels, as FSS-1000."),
        Config(name="tiny", description="64 x 64 pixels, for training on a CPU.", size=64),
        Config(
            name="varied",
            description="128 x 128, objects of any size and color: for oslsm/general.",
            size=128,
            varied=True,
        ),
        Config(name="shape", description="224 x 224, shape the only cue: hard.", cues=False),
        Config(name="shape_tiny", description="64 x 64, shape the only cue.", size=64, cues=False),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        names = [c.name for split in self._classes().values() for c in split]
        return self.dataset_info_from_configs(features=segmentation.features(names))

    def _classes(self) -> dict[str, tuple[glyphs.GlyphClass, ...]]:
        everything = glyphs.load_classes()
        wanted = self.builder_config.classes
        if not MIN_CLASSES <= wanted <= len(everything):
            raise ValueError(
                f"classes={wanted}: give a number from {MIN_CLASSES} to {len(everything)}"
            )
        counts = {
            split: round(wanted * glyphs.SPLITS[split] / len(everything))
            for split in ("val", "test")
        }
        counts = {"train": wanted - sum(counts.values()), **counts}
        return {
            split: tuple(c for c in everything if c.split == split)[:count]
            for split, count in counts.items()
        }

    def _split_generators(self, dl_manager) -> dict[str, Counted]:
        del dl_manager  # nothing is downloaded
        generators, first_id = {}, 1
        for split, classes in self._classes().items():
            examples = self._generate_examples(classes, first_id)
            generators[split] = Counted(examples, len(classes) * IMAGES_PER_CLASS)
            first_id += len(classes)
        return generators

    def _generate_examples(
        self, classes: tuple[glyphs.GlyphClass, ...], first_id: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        painter = Painter(
            glyphs.silhouettes(classes),
            first_id,
            config.size,
            config.cues,
            config.seed,
            config.varied,
        )
        for row, pictures in enumerate(painter.paint()):
            for number, (image, label) in enumerate(pictures, 1):
                image_id = f"{classes[row].name}/{number:02d}"
                yield (
                    image_id,
                    {
                        "image": io.BytesIO(image),
                        "label": segmentation.png(label),
                        "image_id": image_id,
                        "objects": segmentation.objects(label, {1: first_id + row}),
                    },
                )
