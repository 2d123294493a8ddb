"""Which values of a picture fill areas of their own, and which are only edges between such areas.

A mask has two such values (its edges may be soft), a label map more, a photograph hardly any.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

FEW = 32  # distinct values up to which each counts for itself; with more there is noise (JPEG)
NOISE = 12  # how far values of one area lie apart after JPEG
NEAR = 40  # how far a channel may be from an area's color to belong to it
SHARE = 0.005  # of all pixels: a smaller noisy area is no area
FLAT = 0.75  # share of pixels in even areas that a noisy picture needs to be a mask or a map


class Levels(NamedTuple):
    """What `find` found.

    Attributes:
      counts: pixels of each distinct value, by value; of noisy pictures, of each area's.
      areas: the values that fill areas, ascending.
      even: the share of pixels that lie in even areas.
      noisy: whether there are more than `FEW` distinct values.
    """

    counts: dict[int, int]
    areas: tuple[int, ...]
    even: float
    noisy: bool


def pack(rgb: np.ndarray) -> np.ndarray:
    """Colors (uint8 [H, W, 3]) as one number each, int32 [H, W]."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def unpack(value: int) -> tuple[int, int, int]:
    return value >> 16, value >> 8 & 255, value & 255


def find(values: np.ndarray, rgb: np.ndarray | None = None) -> Levels:
    """Finds the values that fill areas.

    Args:
      values: int [H, W], gray values or packed colors.
      rgb: uint8 [H, W, 3], the colors that `values` stand for, if they do.
    """
    distinct, counts = _counted(values)
    every = {int(v): int(c) for v, c in zip(distinct, counts, strict=True)}
    if len(distinct) <= 2:
        return Levels(every, tuple(every), 1.0, False)
    if len(distinct) <= FEW:
        own = tuple(v for v in every if not _is_edge(values, v, every))
        return Levels(every, own, 1.0, False)
    channels = values[..., None] if rgb is None else rgb
    even = _even(channels)
    found: dict[int, int] = {}
    colors, sizes = _counted(values[even])
    order = np.argsort(-sizes, kind="stable")
    colors, sizes = colors[order], sizes[order]
    split = colors[:, None] if rgb is None else np.stack(unpack(colors), -1)
    split = split.astype(np.int64)
    near = NEAR if values.max() <= 255 or rgb is not None else values.max() // 6
    while len(colors) and len(found) < 2 * FEW:
        close = np.abs(split - split[0]).max(-1) <= near
        area = int(sizes[close].sum())
        if area >= SHARE * values.size:
            found[int(colors[0])] = area
        elif sizes[0] < SHARE * values.size / 16:
            break  # only crumbs are left
        colors, sizes, split = colors[~close], sizes[~close], split[~close]
    return Levels(found, tuple(sorted(found)), float(even.mean()), True)


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if 0 <= low and high < 1 << 16:  # counting is faster than the sorting of np.unique
        counts = np.bincount(values.ravel())
        distinct = np.flatnonzero(counts)
        return distinct, counts[distinct]
    return np.unique(values, return_counts=True)


def _even(channels: np.ndarray) -> np.ndarray:
    """Whether all pixels around one have nearly its value, bool [H, W]."""
    result = np.ones(channels.shape[:2], bool)
    tolerance = NOISE if channels.max() <= 255 else NOISE * 257
    for i in range(channels.shape[-1]):
        channel = np.ascontiguousarray(channels[..., i])
        high = ndimage.maximum_filter(channel, 3, mode="nearest").astype(np.int64)
        result &= high - ndimage.minimum_filter(channel, 3, mode="nearest") <= tolerance
    return result


def _is_edge(values: np.ndarray, value: int, counts: dict[int, int]) -> bool:
    """Whether a value is only a seam: nowhere even, and between two others wherever it is."""
    low, high = min(counts), max(counts)
    if value in (low, high):
        return False
    here = values == value
    rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
    box = (
        slice(max(rows[0] - 3, 0), rows[-1] + 4),
        slice(max(columns[0] - 3, 0), columns[-1] + 4),
    )
    values, here = values[box], here[box]
    inside = ndimage.binary_erosion(here, np.ones((3, 3), bool), border_value=1)
    if inside.any() and int(here.sum()) != 1:
        return False
    # Soft edges are a pixel or two wide: what is brighter and what is darker are both near.
    brighter = ndimage.maximum_filter(values, 5, mode="nearest") > value
    darker = ndimage.minimum_filter(values, 5, mode="nearest") < value
    return bool((brighter & darker)[here].mean() > 0.9)


def is_two_with_noise(counts: dict[int, int]) -> bool:
    """Whether a few grays are a dark and a bright one that JPEG drew apart."""
    values = sorted(counts)
    gaps = [i for i in range(1, len(values)) if values[i] - values[i - 1] > NOISE]
    if len(gaps) != 1 or len(values) < 6:
        return False
    dark, bright = values[: gaps[0]], values[gaps[0] :]
    return (
        min(len(dark), len(bright)) > 1
        and dark[-1] < 64
        and bright[0] >= 192
        and max(dark, key=counts.get) == dark[0]
        and max(bright, key=counts.get) == bright[-1]
    )
