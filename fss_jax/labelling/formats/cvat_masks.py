"""CVAT's "segmentation mask 1.1": VOC's folders in colors, with labelmap.txt."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_builders import levels, text
from fss_jax.labelling.annotations import ImageMasks, Told
from fss_jax.labelling.formats import _maps
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "CVAT segmentation mask 1.1"
FILE = "labelmap.txt"
BACKGROUND = "background"


def recognizes(path: Path) -> bool:
    return (path / FILE).is_file() and (path / _maps.CLASSES).is_dir()


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images that have a map of classes, whose colors labelmap.txt names.

    Raises:
      ValueError: labelmap.txt is not built as `name:R,G,B:parts:actions`.
    """
    names, usual = {}, iter(_maps.palette())
    for number, line in enumerate(text.read(path / FILE).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, color = line.rsplit(":", 3)[:2]
            rgb = next(usual)  # of a class without a color, as datumaro writes it
            if color.strip():
                rgb = np.array([int(v) for v in color.split(",")], np.uint8)
            value = int(levels.pack(rgb.reshape(1, 1, 3))[0, 0])
        except (ValueError, OverflowError, StopIteration):
            raise ValueError(
                f"{path / FILE}: line {number} is {line[:40]!r}; expected name:R,G,B:parts:actions"
            ) from None
        if name != BACKGROUND and value:
            names[value] = name
    return _maps.read(path, names, told, finder, in_color=True)


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes PLACE/labelmap.txt, SegmentationClass, SegmentationObject and ImageSets."""
    images = list(images)
    names = sorted({name for image in images for name in image.masks})
    colors = _maps.palette()
    ids = {name: i for i, name in enumerate(names, 1)}
    _maps.write(place, images, ids, colors, in_color=True)
    lines = ["# label:color_rgb:parts:actions", f"{BACKGROUND}:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colors[i].tolist()))}::" for name, i in ids.items()]
    files.write_text(place / FILE, "\n".join(lines) + "\n")
