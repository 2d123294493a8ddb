"""Anybody's own images and masks, one folder per class, as a dataset like the published ones."""

import dataclasses
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_builders import masks, pairs, pictures, segmentation, text

SPLITS = ("train", "val", "test")
LAYOUTS = "CLASS/images/x.jpg with CLASS/masks/x.png, or CLASS/x.jpg with CLASS/x.png or x_mask.png"


class Pair(NamedTuple):
    image: Path
    mask: Path


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """What a user may choose.

    Attributes:
      train, val: shares of the classes, drawn by `seed`, if the folder has no train.txt, val.txt or
        test.txt with class names; the rest is the test split.
      skip_broken: leave out (and report) what can not be used, instead of stopping.
      mask_values, void, mask_color: what is meant in masks with several readings (see
        `masks.Choice.parse`): values or one color of the object, values that are undecided.
      title: a word that keeps several such datasets in one data_dir apart.
    """

    train: float = 0.0
    val: float = 0.0
    seed: int = 0
    skip_broken: bool = False
    mask_values: str = ""
    void: str = ""
    mask_color: str = ""
    title: str = ""


def _as_options(told: object) -> str:
    """A message that names a command's flags, with the options of `prepare` instead."""
    return re.sub(r"--(mask_values|void|mask_color) ", r"--option \1=", str(told))


class Builder(tfds.core.GeneratorBasedBuilder):
    """Classes are folders; splits are sets of classes."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [Config(name="default", description="All classes in test, or by options.")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"A folder with {LAYOUTS}."

    report: list[str]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=segmentation.features(None), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        self.report = []
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError as error:  # how TFDS says that it is missing or empty
            raise ValueError(f"give your folder as --manual_dir; it has {LAYOUTS}") from error
        by_class = self._pairs(folder)
        names = sorted(by_class)
        self.info.features["objects"]["class_id"].names = ["background", *names]
        class_ids = {name: i for i, name in enumerate(names, 1)}
        return {
            split: self._generate_examples({name: by_class[name] for name in chosen}, class_ids)
            for split, chosen in self._splits(folder, names).items()
            if chosen
        }

    def _problem(self, what: str) -> None:
        if not self.builder_config.skip_broken:
            raise ValueError(f"{what}; mend it, or --option skip_broken=true to leave it out")
        self.report.append(f"{what}; left out")

    def _pairs(self, folder: Path) -> dict[str, dict[str, Pair]]:
        """class name -> image id -> pair, both sorted."""
        found = {}
        for place in sorted(folder.iterdir()):
            if not place.is_dir() or place.name.startswith("."):
                continue
            if place.name == "background":
                raise ValueError(f"{place}: a class can not be called background")
            images, marks = pairs.find(place)
            for stem in sorted(images.keys() ^ marks.keys()):
                path = (images | marks)[stem]
                self._problem(f"{path} is alone: no image and mask share its name")
            both = sorted(images.keys() & marks.keys())
            # Ids are words: lists of items and records are text files with blanks between fields.
            ids = {"_".join(f"{place.name}/{stem}".split()): stem for stem in both}
            if len(ids) < len(both):
                raise ValueError(
                    f"{place} has files whose names differ only in blanks; rename them"
                )
            if ids:
                found[place.name] = {i: Pair(images[s], marks[s]) for i, s in sorted(ids.items())}
            else:
                self.report.append(f"{place.name} has no pair of an image and a mask: no class")
        if not found:
            raise ValueError(f"{folder} has no class folder with pictures; expected {LAYOUTS}")
        return found

    def _splits(self, folder: Path, names: list[str]) -> dict[str, list[str]]:
        config = self.builder_config
        lists = {split: folder / f"{split}.txt" for split in SPLITS}
        if any(path.is_file() for path in lists.values()):
            if config.train or config.val:
                raise ValueError(f"{folder} has lists of classes; give no shares beside them")
            return self._listed(lists, names)
        if min(config.train, config.val) < 0 or config.train + config.val > 1:
            raise ValueError(f"train={config.train} and val={config.val} are no shares of 1")
        order = sorted(
            names, key=lambda name: hashlib.sha256(f"{config.seed} {name}".encode()).digest()
        )
        first = round(config.train * len(names))
        second = round((config.train + config.val) * len(names))
        parts = order[:first], order[first:second], order[second:]
        return {split: sorted(part) for split, part in zip(SPLITS, parts, strict=True)}

    def _listed(self, lists: dict[str, Path], names: list[str]) -> dict[str, list[str]]:
        chosen = {}
        for split, path in lists.items():
            lines = text.read(path).splitlines() if path.is_file() else []
            chosen[split] = sorted({line.strip() for line in lines} - {""})
            for name in chosen[split]:
                if name not in names:
                    raise ValueError(f"{path} names {name!r}, but there is no such class folder")
        every = [name for part in chosen.values() for name in part]
        if twice := [name for name in every if every.count(name) > 1]:
            raise ValueError(
                f"class {twice[0]!r} is listed in two splits of {lists['train'].parent}"
            )
        if rest := sorted(set(names) - set(every)):
            self.report.append(f"{len(rest)} classes are in no list, left out: {', '.join(rest)}")
        return chosen

    def _generate_examples(self, by_class, class_ids) -> Iterator[tuple[str, dict]]:
        for name, by_id in by_class.items():
            self.soft_masks, self.marked = 0, []
            for image_id, pair in by_id.items():
                try:
                    image, mask = self._read(pair)
                except ValueError as error:
                    self._problem(str(error))
                    continue
                label = mask.astype(np.uint8)
                yield (
                    image_id,
                    {
                        "image": image,
                        "label": segmentation.png(label),
                        "image_id": image_id,
                        "objects": segmentation.objects(label, {1: class_ids[name]}),
                    },
                )
            if self.soft_masks:
                self.report.append(
                    f"class {name}: {self.soft_masks} masks with grays, cut at half of the range"
                )

    def _choice(self) -> masks.Choice:
        config = self.builder_config
        return masks.Choice.parse(config.mask_values, config.void, config.mask_color)

    def _read(self, pair: Pair) -> tuple[io.BytesIO, np.ndarray]:
        data = pair.image.read_bytes()
        upright = pictures.open_picture(data, str(pair.image))
        try:
            reading = masks.read(pair.mask, choice=self._choice())
            if not self._choice().given:
                masks.same_value([*self.marked, (str(pair.mask), reading)])
        except masks.Unclear as error:
            raise ValueError(_as_options(error)) from None
        self.marked += [(str(pair.mask), reading._replace(label=None))] * (not self.marked)
        self.soft_masks += reading.kind == "soft"
        if reading.note:
            self.report.append(_as_options(reading.note))
        mask = reading.label
        if mask.shape != (upright.height, upright.width):
            raise ValueError(
                f"{pair.mask} is {mask.shape[1]} x {mask.shape[0]}, its image {upright.width} x "
                f"{upright.height}; they must be equal"
            )
        if not (mask == 1).any():
            raise ValueError(f"{pair.mask} is empty: no pixel is the object")
        if pictures.is_plain(data):
            return io.BytesIO(data), mask
        # Whoever decodes the example later must not have to know about EXIF, alpha or deep color.
        return segmentation.png(pictures.to_rgb(upright, str(pair.image))), mask
