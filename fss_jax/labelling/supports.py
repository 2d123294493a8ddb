"""Finds a person's labelled examples on disk: folders of pairs, and the files of label tools."""

import hashlib
import logging
from pathlib import Path

import numpy as np
from PIL import Image

from data_builders import masks, pairs
from data_builders.masks import NONE, Choice
from fss_jax.labelling import formats, pictures
from fss_jax.labelling.annotations import Told
from fss_jax.labelling.formats._files import Finder, annotation_files, json_of

Supports = dict[str, tuple[list[Path | Image.Image], list[Path | np.ndarray]]]

LAYOUTS = (
    "image/x.jpg with label/x.png, x.jpg beside x.png, x.png beside x_mask.png, one such folder per "
    "class, or the files of a label tool (labelme, COCO, CVAT, Label Studio, YOLO, VOC)"
)
BESIDE = ("annotations", "labels")  # folders of annotations, beside that of the images
_log = logging.getLogger(__name__)


def read(place: Path, choice: Choice = NONE) -> Supports:
    """Class names and their (images, masks), as `Segmenter.set_support` takes them.

    A folder of pairs is one class, named as the folder; pictures without a mask are no support. What
    is left out of annotation files is logged, counted by kind.

    Args:
      place: a folder of one of `LAYOUTS`, or the file of a label tool.
      choice: what a person says of masks that can be read in several ways.

    Raises:
      FileNotFoundError: there is no such place, or no image that an annotation names.
      ValueError: nothing labelled there; a file that no tool writes.
      data_builders.masks.Unclear: masks with several readings, or photographs, and no choice.
    """
    if not place.exists():
        raise FileNotFoundError(f"no support at {place}; expected {LAYOUTS}")
    told = Told()
    found = _from_files(place, told)
    if not found and place.is_dir():
        found = {name: both for name, both in _from_pairs(place, choice, told).items() if both[0]}
    if not found:
        why = "; ".join(told.lines())
        what = f" ({why})" if why else ""
        raise ValueError(f"{place} has no image with its mask{what}; expected {LAYOUTS}")
    for line in told.lines():
        _log.warning("%s", line)
    return found


def shared(shown: Supports) -> list[str]:
    """A line about each picture that is, with the same mask, a support of two classes."""
    seen: dict[bytes, list[tuple[str, Path | np.ndarray]]] = {}
    lines = []
    for name, both in shown.items() if len(shown) > 1 else ():
        for image, mask in zip(*both, strict=True):
            data = image.read_bytes() if isinstance(image, Path) else image.tobytes()
            alike = seen.setdefault(hashlib.sha256(data).digest(), [])
            lines += [
                f"{image} is a support of {other!r} and of {name!r} with the same mask: both find "
                "the same; remove it from one of them"
                for other, theirs in alike
                if other != name and _same_mask(mask, theirs)
            ]
            alike.append((name, mask))
    return lines


def _same_mask(one: Path | np.ndarray, other: Path | np.ndarray) -> bool:
    first, second = (
        pictures.read_mask(mask) if isinstance(mask, Path) else mask == 1 for mask in (one, other)
    )
    return np.array_equal(first, second)


def mask_files(place: Path) -> list[Path]:
    """The masks of a folder of pairs, which are no images to label."""
    return [path for folder in _folders(place) for path in pairs.find(folder)[1].values()]


def _from_files(place: Path, told: Told) -> Supports:
    """The objects in annotation files. What cannot be used is left out, unless it is all there is."""
    root = place
    if place.is_file():
        root = place.parent.parent if place.parent.name.lower() in BESIDE else place.parent
    finder = Finder(root, told)
    found: Supports = {}
    errors: list[Exception] = []
    every = formats.find(place)
    for module, path in every:
        try:
            for image in module.read(path, told, finder):
                for name, mask in image.masks.items():
                    if mask.any() and image.image is not None:
                        images, some = found.setdefault(name, ([], []))
                        images.append(image.image)
                        some.append(mask)
        except (ValueError, OSError) as error:
            errors.append(error)
            told.add(f"left out: {error}", path.name)
    known = {path for _, path in every}
    if place not in known:
        for path in annotation_files(place):
            if path not in known and (place.is_file() or path.suffix.lower() == ".json"):
                told.add(f"left out: {path} is no file of a label tool{_why(path)}", place.name)
    if not found and len(errors) == 1 == len(every):
        raise errors[0]
    return found


def _why(path: Path) -> str:
    """What is wrong with a file, if it is damaged rather than another program's."""
    if path.suffix.lower() == ".json":
        try:
            json_of(path)
        except ValueError as error:
            return f": {str(error).removeprefix(f'{path} ')}"
    titles = ", ".join(formats.get(name).TITLE for name in formats.names())
    return f" (known are {titles}); move it out of the support"


def _from_pairs(place: Path, choice: Choice, told: Told) -> Supports:
    found: Supports = {}
    for folder in _folders(place):
        images, some = pairs.find(folder)
        both = sorted(images.keys() & some.keys())
        readings = []
        for name in both:
            reading = pictures.read_reading(some[name], choice=choice)
            readings.append((str(some[name]), reading))
            if reading.note:
                told.add(reading.note, folder.name)
        if not choice.given:
            masks.same_value(readings)
        labels = [reading.label for _, reading in readings]
        found[folder.resolve().name] = (
            [images[name] for name in both],
            labels if choice.given else [some[name] for name in both],
        )
    return found


def _folders(place: Path) -> list[Path]:
    """A folder and its subfolders of classes."""
    if not place.is_dir():
        return []
    inner = [path for path in sorted(place.iterdir()) if path.is_dir()]
    return [place, *(path for path in inner if not path.name.startswith("."))]
