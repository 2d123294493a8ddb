"""The binarized sets of the FSS-1000 paper: every (image, class) pair is an example of its own.

Shared by fs_pascal and fs_coco. The paper says how many pairs its sets have (Table 5), not by which
rules; what is decided here is listed in the builders' README.md.
"""

import dataclasses
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders import segmentation

MIN_SIDE = 224  # pixels, FSS 3.1
MAX_ASPECT = 2.0  # of the longer to the shorter side, FSS 3.1
SPLITS = ("train", "test")


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """A fold of a binarized set.

    Attributes:
      fold: which classes are held out, 0 to 3.
      clean_up: leave out pictures that the paper's own collection would not have taken.
      pairs_per_class: keep so many pairs of each class, drawn by a hash of their names; 0 keeps all.
      skip_broken: leave out (and report) pictures that can not be read, instead of stopping.
    """

    fold: int = 0
    clean_up: bool = True
    pairs_per_class: int = 0
    skip_broken: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture with the classes in it.

    Attributes:
      image_id: unique in the set.
      size: height, width in pixels.
      classes: ids of the classes that it shows.
      load: reads it: a path or the bytes of the image, and a function that gives the mask of a
        class as a uint8 [H, W] label map (1 the class, 0 not, 255 undecided).
    """

    image_id: str
    size: tuple[int, int]
    classes: frozenset[int]
    load: Callable[[], tuple[Path | bytes, Callable[[int], np.ndarray]]]


def is_clean(height: int, width: int) -> bool:
    """Whether FSS-1000's own collection would have taken a picture of this size (FSS 3.1)."""
    short, long = sorted((height, width))
    return short >= MIN_SIDE and long <= MAX_ASPECT * short


def pair_id(image_id: str, class_id: int) -> str:
    """The id of the example that shows a class in an image."""
    return f"{image_id}_{class_id}"


def choose(
    scenes: list[Scene], held_out: Collection[int], config: Config, report: list[str]
) -> dict[str, list[tuple[Scene, list[int]]]]:
    """The pictures of each split, each with the classes of which it becomes an example.

    Args:
      scenes: all pictures.
      held_out: the test classes.
      report: gets a line for what is left out.

    Returns:
      split -> [(picture, class ids)]: `train` has the pairs of the training classes, `test` those of
      the held-out ones.
    """
    clean = [scene for scene in scenes if is_clean(*scene.size)] if config.clean_up else scenes
    before, after = (sum(len(scene.classes) for scene in some) for some in (scenes, clean))
    report.append(
        f"{len(scenes)} pictures with {before} (image, class) pairs; the clean-up leaves out "
        f"{len(scenes) - len(clean)} pictures with {before - after} pairs"
    )
    ids = [(pair_id(s.image_id, c), c) for s in clean for c in sorted(s.classes)]
    ids.sort(key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    seen, kept = Counter(), set()
    for name, class_id in ids:
        seen[class_id] += 1
        if not config.pairs_per_class or seen[class_id] <= config.pairs_per_class:
            kept.add(name)
    if len(kept) < len(ids):
        report.append(
            f"{len(kept)} of {len(ids)} pairs are kept, at most {config.pairs_per_class} of a class"
        )
    chosen = {split: [] for split in SPLITS}
    for scene in clean:
        for split in SPLITS:
            classes = [
                class_id
                for class_id in sorted(scene.classes)
                if (class_id in held_out) == (split == "test")
                and pair_id(scene.image_id, class_id) in kept
            ]
            if classes:
                chosen[split].append((scene, classes))
    shared = {scene.image_id for scene, _ in chosen["train"]}
    shared &= {scene.image_id for scene, _ in chosen["test"]}
    report.append(f"{len(shared)} pictures are in both splits, with masks of different classes")
    return chosen


def examples(
    split: str,
    chosen: list[tuple[Scene, list[int]]],
    skip_broken: bool,
    report: list[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples of a split, as the features of data_builders.segmentation.

    Raises:
      ValueError: a picture can not be read and `skip_broken` is False; or there is no example.
    """
    per_class, hidden, small = Counter(), 0, 0
    for scene, classes in chosen:
        try:
            image, mask_of = scene.load()
        except ValueError as error:
            if not skip_broken:
                raise ValueError(f"{error}; or --option skip_broken=true") from None
            report.append(f"{split}: {error}; left out")
            continue
        for class_id in classes:
            label = mask_of(class_id)
            found = segmentation.objects(label, {1: class_id})
            if not found:
                hidden += 1
                continue
            per_class[class_id] += 1
            small += found[0]["lattice_hits"] < 3
            name = pair_id(scene.image_id, class_id)
            yield (
                name,
                {
                    "image": io.BytesIO(image) if isinstance(image, bytes) else image,
                    "label": segmentation.png(label),
                    "image_id": name,
                    "objects": found,
                },
            )
    if not per_class:
        raise ValueError(f"{split}: no picture shows one of its classes")
    report.append(
        f"{split}: {per_class.total()} pairs of {len(per_class)} classes ({min(per_class.values())} "
        f"to {max(per_class.values())} of each); {hidden} without a visible pixel left out; {small} "
        "kept that OSLSM would find too small (fewer than 3 lattice points)"
    )
