"""The 1000 class names of FSS-1000, their super-categories, and the lists that split them."""

import csv
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data_builders import text


class Published(NamedTuple):
    """A list of class names as it was published; its copy lies here, since names are facts."""

    file_name: str
    sha256: str
    source: str  # at a pinned commit: the bytes behind the address can not change


HSNET = (
    "https://raw.githubusercontent.com/juhongm999/hsnet/e288916debe5290b3e9554fb61e13a474e00f885"
)
PUBLISHED = {
    "train": Published(
        "train_set.txt",
        "815bce03f2502719ba3bd9c1f79111b74ec8ab63e6111830ff7312de49b1cf17",
        f"{HSNET}/data/splits/fss/trn.txt",
    ),
    "val": Published(
        "val_set.txt",
        "9cac02c58602f2789b4e6393200e450e3ba1edae6673d6a87ae2063d0c547aee",
        f"{HSNET}/data/splits/fss/val.txt",
    ),
    "test": Published(
        "fss_test_set.txt",
        "d7b2c5deff8fb65435f146180bf1f22c4be837d2634f5daa01bcbaac8a115246",
        "https://raw.githubusercontent.com/HKUSTCV/FSS-1000/"
        "4157351078fc1c574101c38d75604e0d90dc02e0/fss_test_set.txt",
    ),
}
# Under these names a user's own lists are found.
FILE_NAMES = {
    "train": ("train.txt", "trn.txt"),
    "val": ("val.txt",),
    "test": ("test.txt", "fss_test_set.txt"),
}
TRAIN_CLASSES = 520  # of the 760 that are not test classes, as in the paper
CLASSES_EACH = 20  # of every super-category, in test and in val: the paper's 240 and 240
SUPER_CATEGORIES = (
    "land animal",
    "air animal",
    "water animal",
    "fruit & plant",
    "food",
    "daily object",
    "electronic device",
    "tool",
    "music & sport",
    "outdoor object",
    "transportation",
    "misc",
)


class Place(NamedTuple):
    """Where a class stands in the hierarchy.

    Attributes:
      super_category: the first one, which counts wherever a class can count once.
      group: the level between, such as 'song bird' of 'air animal'.
      also: further super-categories that the class belongs to: an apple is food, too.
    """

    super_category: str
    group: str
    also: tuple[str, ...]


@functools.cache
def hierarchy() -> dict[str, Place]:
    """The place of each of the 1000 class names, in our own map (README.md)."""
    with Path(__file__).with_name("super_categories.csv").open(newline="") as file:
        return {
            row["class_name"]: Place(
                row["super_category"], row["group"], tuple(filter(None, row["also"].split(";")))
            )
            for row in csv.DictReader(file)
        }


@functools.cache
def super_categories() -> dict[str, str]:
    """The first super-category of each of the 1000 class names, in our own map (README.md)."""
    return {name: place.super_category for name, place in hierarchy().items()}


# What PASCAL VOC calls some of COCO's classes.
VOC_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@functools.cache
def common_objects() -> dict[str, str]:
    """COCO's class of the same objects, of those classes that have one; our own map (README.md)."""
    with Path(__file__).with_name("common_objects.csv").open(newline="") as file:
        return {row["class_name"]: row["coco_class"] for row in csv.DictReader(file)}


def shown_by(names: Iterable[str], others: Iterable[str]) -> set[str]:
    """Those of FSS-1000's class names whose objects are among the classes of another dataset.

    Args:
      others: class names of PASCAL VOC or COCO; or of FSS-1000 itself, then only equal names count.
    """
    known = set(others)
    if known <= set(super_categories()):
        return set(names) & known
    known |= {VOC_NAMES.get(name, name) for name in known}
    return {name for name in names if common_objects().get(name) in known}


@functools.cache
def groups() -> tuple[str, ...]:
    """The names of the level between, as 'SUPER-CATEGORY / GROUP', sorted."""
    return tuple(sorted({f"{p.super_category} / {p.group}" for p in hierarchy().values()}))


def published(split: str) -> list[str]:
    """The class names of a split's published list, from the copy that lies here.

    Raises:
      ValueError: the copy is not the published list.
    """
    wanted = PUBLISHED[split]
    path = Path(__file__).with_name(wanted.file_name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted.sha256:
        raise ValueError(f"{path} was changed; it has to be {wanted.source}, byte for byte")
    return read(path)


def find(folder: Path, split: str) -> Path | None:
    """The list of a split in a folder, under any of its usual names."""
    paths = [folder / name for name in FILE_NAMES[split]]
    return next((path for path in paths if path.is_file()), None)


def read(path: Path) -> list[str]:
    """The class names of a list.

    Raises:
      ValueError: one is not a class of FSS-1000.
    """
    known = super_categories()
    names = text.read(path).split()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"{path} names {len(unknown)} classes that FSS-1000 does not have (first: {unknown[0]}); "
            "its spelling, mistakes included, is the one in super_categories.csv"
        )
    return names


def draw_train_and_val(test: list[str], seed: int) -> dict[str, list[str]]:
    """Splits the classes that are not test classes at random, the same on every machine."""
    rest = _shuffled(set(super_categories()) - set(test), seed)
    return {"train": rest[:TRAIN_CLASSES], "val": rest[TRAIN_CLASSES:]}


def draw_balanced(seed: int) -> dict[str, list[str]]:
    """The paper's own random split: of every super-category 20 classes for test, 20 for val.

    The rest, 520, is train. A class counts for its first super-category, in our own map.
    """
    lists = {"train": [], "val": [], "test": []}
    for category in SUPER_CATEGORIES:
        members = {name for name, its in super_categories().items() if its == category}
        order = _shuffled(members, seed)
        lists["test"] += order[:CLASSES_EACH]
        lists["val"] += order[CLASSES_EACH : 2 * CLASSES_EACH]
        lists["train"] += order[2 * CLASSES_EACH :]
    return lists


def _shuffled(names: set[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def check_disjoint(lists: dict[str, list[str]]) -> None:
    """Raises ValueError if a class is in two splits, or twice in one."""
    count = Counter(name for names in lists.values() for name in names)
    if twice := sorted(name for name, n in count.items() if n > 1):
        raise ValueError(f"the split lists name {len(twice)} classes twice (first: {twice[0]})")
