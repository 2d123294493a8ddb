"""Names of classes and of images as names of files: each its own, on every system."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

LONGEST = 240  # bytes of a name, so that an ending fits below the 255 of most systems
FORBIDDEN = '/\\:*?"<>|'


def names(classes: Iterable[str]) -> dict[str, str]:
    """A folder name for each class: tv/monitor is tv_monitor; no two classes share one."""
    result: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(classes, key=lambda name: (_safe(name) != name, name)):
        folder = _safe(name)
        if _key(folder) in taken:
            folder = f"{shortened(folder, LONGEST - 9)}_{_digest(name)}"
        taken.add(_key(folder))
        result[name] = folder
    return result


def _safe(name: str) -> str:
    kept = "".join("_" if c in FORBIDDEN or ord(c) < 32 else c for c in name)
    kept = kept.rstrip(" .") or "_"
    return shortened(f"_{kept[1:]}" if kept.startswith(".") else kept)


def stems(images: Sequence[str]) -> dict[str, str]:
    """For each image (a path with '/') the path of its results without their endings.

    It is the image's without its ending; with it where two would share a file, or a file be where a
    folder is; and its last part is cut where it is too long, and ends with a digest then.
    """
    result = {name: _stem(name) for name in images}
    folders = {_key(str(p)) for name in images for p in PurePosixPath(name).parents}
    endings = ("", ".png", ".jpg", ".json")
    for again in (lambda name: name, lambda name: f"{name}_{_digest(name)}"):
        counts = Counter(_key(stem) for stem in result.values())
        clashing = [
            name
            for name, stem in result.items()
            if counts[_key(stem)] > 1 or any(_key(stem + e) in folders for e in endings)
        ]
        result |= {name: _fitting(again(name)) for name in clashing}
    return result


def _stem(name: str) -> str:
    return _fitting(str(PurePosixPath(name).with_suffix("")))


def _fitting(path: str) -> str:
    folder, slash, last = path.rpartition("/")
    return folder + slash + shortened(last)


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name of at most so many bytes; what was cut is told by a digest."""
    data = os.fsencode(name)
    if len(data) <= longest:
        return name
    return f"{data[: longest - 9].decode(errors='ignore')}_{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _key(name: str) -> str:
    """What systems that fold case and accents take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()
