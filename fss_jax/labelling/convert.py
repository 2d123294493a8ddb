"""Turns the files of one label tool into those of another."""

from pathlib import Path

from fss_jax.labelling import annotations, formats, packing
from fss_jax.labelling.annotations import ImageMasks, Told
from fss_jax.labelling.formats._files import Finder


def read(
    place: Path, kind: str = "", images: Path | None = None
) -> tuple[list[ImageMasks], list[str]]:
    """The images that annotation files name, with their masks.

    Args:
      place: a file or a folder.
      kind: a format's name; by default it is found out.
      images: where the images lie, for formats that do not say how large they are, and to compare.

    Returns:
      The images, whose masks take little memory (`packing`), and a line for each kind of thing that
      was left out.

    Raises:
      FileNotFoundError, ValueError: nothing there that is in the format.
    """
    if not place.exists():
        raise FileNotFoundError(f"there is no {place}")
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}")
    told = Told()
    finder = Finder(images, told)
    if kind:
        module = formats.get(kind)
        places = [(module, place)]
        if place.is_dir() and kind != "png" and not module.recognizes(place):
            places = [(m, path) for m, path in formats.find(place) if m is module]
    else:
        places = formats.find(place)
    found: list[ImageMasks] = []
    for module, path in places:
        try:
            found += map(packing.packed, module.read(path, told, finder))
        except (ValueError, OSError) as error:
            if len(places) == 1:
                raise
            told.add(f"left out: {error}", path.name)
    if not found:
        what = f"of {formats.get(kind).TITLE}" if kind else f"(known: {', '.join(formats.names())})"
        raise ValueError(
            " ".join([f"{place} holds no annotation {what};", *told.lines()]).rstrip(";")
        )
    return [_relative(image, images) for image in found], told.lines()


def _relative(image: ImageMasks, images: Path | None) -> ImageMasks:
    """Named from the folder of the images, where it lies there, wherever the file named it from."""
    if images is None or not isinstance(image.image, Path):
        return image
    place = image.image.resolve()
    if not place.is_relative_to(images.resolve()):
        return image
    return image._replace(file_name=place.relative_to(images.resolve()).as_posix())


def convert(
    place: Path,
    out: Path,
    to: str,
    *,
    kind: str = "",
    images: Path | None = None,
    instances: bool = False,
    polygons: bool = False,
) -> tuple[int, list[str]]:
    """Writes the annotations of `place` into the folder `out`.

    Args:
      to, kind: names of formats.
      images: where the images lie.
      instances: connected parts become objects of their own; else objects stay as the file has them.
      polygons: where the format can hold both, write polygons instead of codes.

    Returns:
      How many images, and what was left out, line by line.

    Raises:
      FileNotFoundError, ValueError: as `read`; `out` is there already and not empty.
    """
    module = formats.get(to)
    if not hasattr(module, "write"):
        raise ValueError(f"{module.TITLE} can only be read")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty; choose another folder")
    found, lines = read(place, kind, images)
    if instances:
        found = [packing.packed(annotations.split(image)) for image in found]
    module.write(out, found, polygons=polygons)
    return len(found), lines
