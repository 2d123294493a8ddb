"""PASCAL VOC's folders: palette pictures in SegmentationClass and SegmentationObject."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from data_builders import text
from fss_jax.labelling.annotations import ImageMasks, Told
from fss_jax.labelling.formats import _maps
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "Pascal VOC masks"
NAMES = "class_names.txt"  # as several tools write it; VOC itself has none
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


def recognizes(path: Path) -> bool:
    return (path / _maps.CLASSES).is_dir() and not (path / "labelmap.txt").is_file()


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images that have a map of classes; 255 is void. Names are VOC's, or class_names.txt."""
    names = VOC_CLASSES
    if (path / NAMES).is_file():
        lines = [line.strip() for line in text.read(path / NAMES).splitlines()]
        names = lines[1:] if lines and "background" in lines[0].lower() else lines
    return _maps.read(path, dict(enumerate(names, 1)), told, finder)


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes PLACE/SegmentationClass, SegmentationObject, class_names.txt and ImageSets."""
    images = list(images)
    found = sorted({name for image in images for name in image.masks})
    # VOC's own classes keep their numbers.
    names = list(VOC_CLASSES) if set(found) <= set(VOC_CLASSES) else found
    ids = {name: i for i, name in enumerate(names, 1)}
    _maps.write(place, images, ids, _maps.palette(), in_color=False)
    files.write_text(place / NAMES, "".join(f"{name}\n" for name in ["background", *names]))
