"""YOLO's segmentation labels: one text file an image, polygons as shares of its width and height."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_builders import pictures, text
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "YOLO segmentation"
NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
LISTS = ("classes.txt", "obj.names")  # one name a line, as Label Studio and CVAT write them
DIGITS = 9  # behind the point: a pixel of an image a million pixels wide


def recognizes(path: Path) -> bool:
    if path.is_dir():
        known = any((path / name).is_file() for name in (*NAMES, *LISTS))
        return known and (path / "labels").is_dir()
    if path.suffix.lower() not in (".yaml", ".yml"):
        return False
    try:
        return "names" in _yaml(path)
    except ValueError:
        return False


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images that a label file names; a line is an object. Boxes are left out and counted.

    Sizes are the images' own, so that these must be there.

    Raises:
      ValueError: no names of classes, or an image that is not there.
    """
    root = path if path.is_dir() else path.parent
    names = _names(path if path.is_file() else _source(root))
    labels = sorted(
        p for p in _files.walk(root) if p.suffix.lower() == ".txt" and "labels" in p.parts
    )
    if finder.root is None:
        finder = Finder(root, told)
    for file in labels:
        stem = file.relative_to(root).with_suffix("").as_posix().replace("labels/", "", 1)
        with _files.leaving_out(told, str(file), "a label file"):
            image = finder.by_stem(file, stem)
            if image is None:
                raise ValueError(f"no image {stem} beside the labels, and its size is needed")
            yield _read_one(file, image, stem, names, told)


def _read_one(file: Path, image: Path, stem: str, names: dict[int, str], told: Told) -> ImageMasks:
    height, width = pictures.upright_size(image)[0]
    lines = text.read(file).splitlines()
    annotations.size(height, width, str(image), len(lines))
    things = []
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        with _files.leaving_out(told, f"{file.name}: line {i}", "a line of YOLO labels"):
            first, *rest = line.split()
            try:
                category, shares = int(float(first)), np.array(rest, np.float64)
            except (ValueError, OverflowError):
                raise ValueError("lines that are no numbers") from None
            if len(shares) in (4, 5):
                raise ValueError("boxes without a polygon")
            if category not in names:
                raise ValueError(f"class {category}, which has no name")
            points = shares.reshape(-1, 2) if len(shares) % 2 == 0 else shares
            scale = np.array([width, height]) if points.ndim == 2 else 1
            things.append(
                Object(names[category], annotations.polygon(points * scale, height, width))
            )
    return annotations.image_of(f"{stem}{image.suffix}", height, width, things, image)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text.read(path))
    except Exception as error:  # yaml's own, and Python's of an empty !!int or !!timestamp
        raise ValueError(f"{path} is not YAML ({type(error).__name__})") from None
    return content if isinstance(content, dict) else {}


def _source(root: Path) -> Path:
    for name in (*NAMES, *LISTS):
        if (root / name).is_file():
            return root / name
    raise ValueError(f"{root} names no classes: expected {', '.join((*NAMES, *LISTS))}")


def _names(path: Path) -> dict[int, str]:
    """The names of classes by number.

    Raises:
      ValueError: there is none.
    """
    if path.name in LISTS:
        told: Any = [line.strip() for line in text.read(path).splitlines() if line.strip()]
    else:
        told = _yaml(path).get("names")
    pairs = (
        told.items()
        if isinstance(told, dict)
        else enumerate(told if isinstance(told, list) else [])
    )
    # Of a list inside a list only a few bytes are in the file, which as text may fill the memory.
    names = {
        int(key): str(value)
        for key, value in pairs
        if isinstance(value, str | int | float) and re.fullmatch(r"\d{1,9}", str(key), re.ASCII)
    }
    if not names:
        raise ValueError(f"{path} has no names of classes: expected names as a list, or by number")
    return names


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes PLACE/data.yaml and PLACE/labels/X.txt; an object of several parts is one line, its
    parts joined by lines that no area lies between. Images belong into PLACE/images.
    """
    images = list(annotations.named(images))
    names = sorted({name for _, image in images for name in image.masks})
    ids = {name: i for i, name in enumerate(names)}
    for stem, image in images:
        lines = []
        for thing in image.things():
            points = _joined(annotations.to_polygons(thing.mask))
            shares = points / np.array([image.width, image.height])
            numbers = " ".join(f"{v:.{DIGITS}f}".rstrip("0").rstrip(".") for v in shares.ravel())
            lines.append(f"{ids[thing.name]} {numbers}\n")
        files.write_text(place / "labels" / f"{stem}.txt", "".join(lines))
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(names))}
    files.write_text(
        place / "data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    )


def _joined(polygons: list[list[float]]) -> np.ndarray:
    """One closed polygon that walks to every further part and back along the same line."""
    first = np.reshape(polygons[0], (-1, 2))
    pieces = [first]
    for points in polygons[1:]:
        part = np.reshape(points, (-1, 2))
        pieces += [first[:1], part, part[:1]]
    return np.concatenate([*pieces, first[:1]] if len(polygons) > 1 else pieces)
