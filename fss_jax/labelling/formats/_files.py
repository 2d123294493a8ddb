"""What the formats share: finding annotation files and the images they mean, leaving out what is odd."""

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from data_builders import pairs, pictures
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import Told

ENDINGS = (".json", ".xml", ".yaml", ".yml")


def walk(folder: Path) -> Iterator[Path]:
    """All files in a folder and its subfolders, sorted; linked folders too, once; nothing hidden."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def annotation_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [path for path in walk(place) if path.suffix.lower() in ENDINGS]


def json_of(path: Path) -> Any:
    """A JSON file's content; the last one is kept, since several formats look at it."""
    status = path.stat()
    return _json(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)
def _json(path: str, *_) -> Any:
    return annotations.read_json(Path(path))


def is_json(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".json"


def json_keys(path: Path) -> set[str]:
    """The keys of a JSON object; nothing if it is none."""
    if not is_json(path):
        return set()
    with contextlib.suppress(ValueError, OSError):
        content = json_of(path)
        if isinstance(content, dict):
            return set(content)
    return set()


@contextlib.contextmanager
def leaving_out(told: Told, where: str, expected: str) -> Iterator[None]:
    """What is odd inside the block is left out and told, and nothing stops."""
    try:
        yield
    except KeyError as error:
        told.add(f"left out: {expected} lacks {error}", where)
    except ValueError as error:
        told.add(f"left out: {error}", where)
    except (TypeError, AttributeError, IndexError, OverflowError):
        told.add(f"left out: {expected} is not built as one", where)


class Finder:
    """Finds the images that annotations name, below one folder.

    Args:
      root: where to look; None finds nothing, for who needs no pixels.
    """

    def __init__(self, root: Path | None, told: Told):
        self.root, self.told = root, told

    @functools.cached_property
    def _index(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in walk(self.root) if self.root else ():
            if pairs.is_picture(path):
                found.setdefault(path.name.lower(), []).append(path)
        return found

    @functools.cached_property
    def _stems(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for places in self._index.values():
            for path in places:
                found.setdefault(path.stem.lower(), []).append(path)
        return found

    def find(self, source: Path, name: str, *, beside: bool = False) -> Path | None:
        """The image called `name` by the annotation file `source`; None if there is none.

        Looked for from the file's folder, then (`beside`) by the file's own name, then by name
        anywhere below the root; of several the one whose folders fit the name best.

        Raises:
          ValueError: several fit alike.
        """
        if self.root is None:
            return None
        told = name.replace("\\", "/")
        for text in dict.fromkeys((told, unquote(told))):
            with contextlib.suppress(OSError, ValueError):
                if text and (source.parent / text).is_file():
                    return source.parent / text
        if beside:
            for path in sorted(source.parent.glob("*")):
                if path.stem == source.stem and pairs.is_picture(path):
                    self.told.add(
                        f"the image that is named is not there, the one of the file's own name was "
                        f"taken ({name} is {path.name})", source
                    )  # fmt: skip
                    return path
        base = PurePosixPath(unquote(told.partition("?")[0])).name.lower()
        return self._best(self._index.get(base, []), told, source)

    def by_stem(self, source: Path, stem: str) -> Path | None:
        """The image whose path without its ending is, or ends with, `stem`."""
        found = self._stems.get(PurePosixPath(stem).name.lower(), [])
        found = [path for path in found if not _is_mask(path)]
        return self._best(found, stem, source, stems=True)

    def _best(self, found: list[Path], name: str, source: Path, stems: bool = False) -> Path | None:
        if len(found) < 2:
            return found[0] if found else None

        def fit(path: Path) -> tuple:
            parts = (path.with_suffix("") if stems else path).parts
            same = 0
            for one, other in zip(
                reversed(parts), reversed(PurePosixPath(name).parts), strict=False
            ):
                if one.lower() != other.lower():
                    break
                same += 1
            # instances_train.json means train/, and what lies near is meant before what lies far.
            subset = source.stem.lower().rpartition("_")[2]
            near = len(os.path.commonprefix([parts, source.resolve().parts]))
            return (same, subset in [part.lower() for part in parts[:-1]], near)

        ranked = sorted(found, key=fit, reverse=True)
        if fit(ranked[0]) == fit(ranked[1]):
            raise ValueError(f"{name} may be {ranked[0]} or {ranked[1]}; name its folder")
        return ranked[0]


def _is_mask(path: Path) -> bool:
    folders = {part.lower() for part in path.parts[:-1]}
    return bool(folders & {*pairs.MASK_FOLDERS, "segmentationclass", "segmentationobject"})


def settle(
    stated: tuple[int, int] | None, image: Path | None, points: list, turned_if_outside: bool = True
) -> tuple[int, int]:
    """The size [height, width] that an annotation's coordinates are in.

    Args:
      stated: what the file says.
      image: its image, if it is known: its size is that of the upright picture.
      points: (x, y) that lie in the image, to tell upright coordinates from stored ones.

    Raises:
      ValueError: the two contradict each other, or none is known.
    """
    if image is None:
        if stated is None:
            raise ValueError("neither the file nor an image says how large it is")
        return stated
    upright, turned = pictures.upright_size(image)
    if stated is None or stated == upright:
        return upright
    if turned and stated == upright[::-1]:
        height, width = stated
        outside = any(x > width + 1 or y > height + 1 for x, y in points)
        if outside and turned_if_outside:
            return upright
        raise ValueError(
            f"{image.name} is turned by its EXIF to {upright[1]} x {upright[0]}, the annotation says "
            f"{width} x {height} and fits both ways; turn the pixels of the image (exiftran, mogrify "
            "-auto-orient) and label it again"
        )
    raise ValueError(
        f"{image.name} is {upright[1]} x {upright[0]}, its annotation {stated[1]} x {stated[0]}; they "
        "must be equal"
    )
