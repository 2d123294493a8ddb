"""The files of label tools, one module each, found by its file's name; nothing lists them.

A module has
  TITLE       what people call it
  recognizes(path) -> bool                   whether a file, or a folder, is one
  read(path, told, finder) -> Iterator[ImageMasks]
  write(place, images, **options) -> None    into a folder

`told` collects what is left out. What a format keeps and loses: docs/formats.md.
"""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from fss_jax.labelling.formats._files import annotation_files


def names() -> list[str]:
    """The formats there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def get(name: str) -> ModuleType:
    """A format by name.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in names():
        raise ValueError(f"no format {name!r}; known: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def find(place: Path) -> list[tuple[ModuleType, Path]]:
    """The annotations in a folder, or a file itself: (format, file or folder), by path.

    Hidden files are passed over. Plain folders of masks are no annotation.
    """
    known = [get(name) for name in names()]
    if place.is_dir():
        for module in known:
            if module.recognizes(place):
                return [(module, place)]
    found = []
    for path in annotation_files(place):
        module = next((module for module in known if module.recognizes(path)), None)
        if module is not None:
            found.append((module, path))
    return found
