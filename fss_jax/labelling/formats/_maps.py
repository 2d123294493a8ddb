"""What the formats of PASCAL VOC's folders share: label maps and maps of objects as pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_builders import levels, pictures
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

CLASSES, OBJECTS = "SegmentationClass", "SegmentationObject"
LIST = "ImageSets/Segmentation/default.txt"
VOID = 255


def palette() -> np.ndarray:
    """VOC's colors, uint8 [256, 3]: the bits of the index, dealt out to the channels from above."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.int64)
    for shift in range(8):
        for channel in range(3):
            colors[:, channel] |= ((index >> (3 * shift + channel)) & 1) << (7 - shift)
    return colors.astype(np.uint8)


def read(
    path: Path, names: dict[int, str], told: Told, finder: Finder, *, in_color: bool = False
) -> Iterator[ImageMasks]:
    """The images of PATH/SegmentationClass; objects are told apart where SegmentationObject does.

    Args:
      names: of the classes, by the value (see `values`) of a class's pixels; others are left out.
      in_color: values are colors, also where the picture has a palette.
    """
    for file in _files.walk(path / CLASSES):
        stem = file.relative_to(path / CLASSES).with_suffix("").as_posix()
        with _files.leaving_out(told, str(file), "a mask"):
            classes = values(file, in_color=in_color)
            instances = path / OBJECTS / file.relative_to(path / CLASSES)
            parts = values(instances) if instances.is_file() else None
            if parts is not None and parts.shape != classes.shape:
                raise ValueError("a map of objects of another size")
            image = finder.by_stem(file, stem)
            if image is not None and pictures.upright_size(image)[0] != classes.shape:
                raise ValueError(f"{image.name} has another size than its mask")
            if image is None and finder.root not in (None, path):
                raise ValueError(f"the image {stem} is not there")
            ending = image.suffix if image else ".jpg"
            things = list(_things(classes, parts, names, told, file))
            yield annotations.image_of(f"{stem}{ending}", *classes.shape, things, image)


def _things(classes, parts, names, told: Told, file: Path) -> Iterator[Object]:
    present = [int(v) for v in np.unique(classes)]
    annotations.size(*classes.shape, str(file), len(present))
    for value in present:
        if value not in names:
            if value not in (0, VOID):
                told.add("left out: pixels of a class without a name", file)
            continue
        mask = classes == value
        if parts is None:
            yield Object(names[value], mask)
            continue
        ids = np.unique(parts[mask])
        annotations.size(*classes.shape, str(file), len(ids))
        for part in ids:
            yield Object(names[value], mask & (parts == part))


def values(file: Path, *, in_color: bool = False) -> np.ndarray:
    """The entries of a palette or the gray values; colors as one number each, int [H, W].

    Args:
      in_color: also a palette's.

    Raises:
      ValueError: no picture.
    """
    picture = pictures.open_picture(file)
    if picture.mode in ("L", "1") or (picture.mode == "P" and not in_color):
        return np.asarray(picture).astype(np.int64)
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int64)
    return levels.pack(np.asarray(picture.convert("RGB"))).astype(np.int64)


def write(
    place: Path,
    images: Iterable[ImageMasks],
    ids: dict[str, int],
    colors: np.ndarray,
    *,
    in_color: bool,
) -> None:
    """Writes maps of classes and of objects, and their list. Small objects lie on large ones.

    Args:
      ids: 1-based, by class.
      in_color: RGB pictures instead of palettes.

    Raises:
      ValueError: more objects in an image, or more classes, than there are colors.
    """
    stems = []
    for stem, image in annotations.named(images):
        classes = np.zeros((image.height, image.width), np.uint8)
        parts = np.zeros_like(classes)
        things = sorted(image.things(), key=lambda thing: -int(thing.mask.sum()))
        if max(len(things), max(ids.values(), default=0)) >= VOID:
            raise ValueError(
                f"{image.file_name} has {len(things)} objects of {len(ids)} classes; these files hold "
                f"{VOID - 1} of each"
            )
        for i, thing in enumerate(things, 1):
            classes[thing.mask] = ids[thing.name]
            parts[thing.mask] = i
        for folder, map_, table in ((CLASSES, classes, colors), (OBJECTS, parts, palette())):
            picture = Image.fromarray(table[map_] if in_color else map_)
            if not in_color:
                picture.putpalette(table.ravel().tolist())
            with files.atomic(place / folder / f"{stem}.png") as temporary:
                picture.save(temporary, "PNG")
        stems.append(stem)
    files.write_text(place / LIST, "".join(f"{stem}\n" for stem in stems))
