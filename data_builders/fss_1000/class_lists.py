"""The 1000 class names of FSS-1000, their super-categories, and the lists that split them."""

import csv
import functools
import hashlib
from collections import Counter
from pathlib import Path

# Pinned commits: the bytes behind these addresses can not change.
HSNET = (
    "https://raw.githubusercontent.com/juhongm999/hsnet/e288916debe5290b3e9554fb61e13a474e00f885"
)
URLS = {
    "train": f"{HSNET}/data/splits/fss/trn.txt",
    "val": f"{HSNET}/data/splits/fss/val.txt",
    "test": "https://raw.githubusercontent.com/HKUSTCV/FSS-1000/"
    "4157351078fc1c574101c38d75604e0d90dc02e0/fss_test_set.txt",
}
FILE_NAMES = {
    "train": ("train.txt", "trn.txt"),
    "val": ("val.txt",),
    "test": ("test.txt", "fss_test_set.txt"),
}
TRAIN_CLASSES = 520  # of the 760 that are not test classes, as in the paper
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


@functools.cache
def super_categories() -> dict[str, str]:
    """The super-category of each of the 1000 class names, in our own map (README.md)."""
    with Path(__file__).with_name("super_categories.csv").open(newline="") as file:
        return {row["class_name"]: row["super_category"] for row in csv.DictReader(file)}


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
    names = path.read_text().split()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"{path} names {len(unknown)} classes that FSS-1000 does not have (first: {unknown[0]}); "
            "its spelling, mistakes included, is the one in super_categories.csv"
        )
    return names


def draw_train_and_val(test: list[str], seed: int) -> dict[str, list[str]]:
    """Splits the classes that are not test classes at random, the same on every machine."""
    rest = sorted(set(super_categories()) - set(test))
    rest.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return {"train": rest[:TRAIN_CLASSES], "val": rest[TRAIN_CLASSES:]}


def check_disjoint(lists: dict[str, list[str]]) -> None:
    """Raises ValueError if a class is in two splits, or twice in one."""
    count = Counter(name for names in lists.values() for name in names)
    if twice := sorted(name for name, n in count.items() if n > 1):
        raise ValueError(f"the split lists name {len(twice)} classes twice (first: {twice[0]})")
