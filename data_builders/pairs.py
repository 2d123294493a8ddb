"""Which image goes with which mask in a folder of a class, however a person laid them out.

image(s)/x.jpg with mask(s)/x.png or label(s)/x.png; x.jpg beside x.png; x.png beside x_mask.png.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# fmt: off
PICTURES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg",
    ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)
# What lies beside pictures and is meant for other eyes.
NOT_PICTURES = (
    "", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".npy", ".npz",
    ".py", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip",
)
# fmt: on
IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels", "label")
MASK_SUFFIX = "_mask"


def find(place: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images and the masks of a class folder, by the name that a pair shares.

    Raises:
      ValueError: two images or two masks share a name.
    """
    images, marks = _inside(place, IMAGE_FOLDERS), _inside(place, MASK_FOLDERS)
    if not images and not marks:
        every = pictures(place)
        stems = [path.stem for path in every]
        # x.png is a mask only beside an x.jpg or the like.
        marks = [
            path
            for path in every
            if path.stem.endswith(MASK_SUFFIX)
            or (path.suffix.lower() == ".png" and stems.count(path.stem) == 2)
        ]
        images = [path for path in every if path not in marks]
    return _by_name(images, ""), _by_name(marks, MASK_SUFFIX)


def _inside(place: Path, names: tuple[str, ...]) -> list[Path]:
    """The pictures in the folders of these names, in upper or lower case."""
    folders = [path for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    folders = [path for path in sorted(folders) if path.name.lower() in names]
    return [path for folder in folders for path in pictures(folder)]


def pictures(place: Path) -> list[Path]:
    every = sorted(place.iterdir()) if place.is_dir() else []
    return [path for path in every if is_picture(path)]


def is_picture(path: Path) -> bool:
    """By its ending; hidden files are none (macOS lays ._x.jpg beside x.jpg)."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def left_out(paths: Iterable[Path]) -> str:
    """'left out: 2 .heic, 1 .svg', of what may be pictures that cannot be read; '' if none is."""
    endings = Counter(path.suffix.lower() for path in paths if not path.name.startswith("."))
    endings -= Counter({end: count for end, count in endings.items() if end in NOT_PICTURES})
    endings -= Counter({end: count for end, count in endings.items() if end in PICTURES})
    if not endings:
        return ""
    return "left out: " + ", ".join(f"{count} {end}" for end, count in sorted(endings.items()))


def _by_name(paths: list[Path], suffix: str) -> dict[str, Path]:
    found = {}
    for path in paths:
        name = path.stem.removesuffix(suffix)
        if name in found:
            raise ValueError(f"{found[name]} and {path} share a name; rename one")
        found[name] = path
    return found
