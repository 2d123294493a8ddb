"""Large images in overlapping tiles: where they lie, and how their logits become one map again."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

OVERLAP = 0.25  # of a tile's side, at least


def spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Evenly spaced intervals of at most `tile` pixels that cover `length` and overlap."""
    if length <= tile:
        return [(0, length)]
    step = max(1, int(tile * (1 - OVERLAP)))
    count = -(-(length - tile) // step) + 1
    return [(int(start), int(start) + tile) for start in np.linspace(0, length - tile, count)]


def windows(shape: tuple[int, int], tile: int) -> list[tuple[slice, slice]]:
    """The tiles of an image [height, width], row by row."""
    rows, columns = ([slice(*span) for span in spans(length, tile)] for length in shape)
    return list(itertools.product(rows, columns))


def ramps(parts: Sequence[tuple[int, int]]) -> list[Float[np.ndarray, " n"]]:
    """Weights of intervals that fall toward their ends and sum to one wherever these overlap."""
    total = np.zeros(parts[-1][1], np.float32)
    hats = []
    for start, stop in parts:
        index = np.arange(stop - start)
        hats.append(np.minimum(index + 1, stop - start - index).astype(np.float32))
        total[start:stop] += hats[-1]
    return [hat / total[start:stop] for hat, (start, stop) in zip(hats, parts, strict=True)]


def stretch(
    values: Float[np.ndarray, "h w"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    """`imaging.unwarp` in host memory, for results of any size: bilinear with repeated edges."""
    for axis, out in ((0, height), (1, width)):
        length = values.shape[axis]
        if out == length:
            continue
        source = np.clip((np.arange(out) + 0.5) * (length / out) - 0.5, 0, length - 1)
        first = np.minimum(source.astype(int), max(length - 2, 0))
        part = (source - first).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None]
        before = values.take(first, axis)
        after = values.take(np.minimum(first + 1, length - 1), axis)
        after -= before
        after *= part
        values = before + after
    return values.astype(np.float32)  # a copy, too


def blend(
    maps: Sequence[Float[np.ndarray, "h w"]], shape: tuple[int, int], tile: int
) -> Float[np.ndarray, "height width"]:
    """The maps of an image's `windows`, stretched over them and faded into each other.

    Memory beyond the result is that of a few tiles.
    """
    if len(maps) == 1:
        return stretch(maps[0], *shape)
    total = np.zeros(shape, np.float32)
    weights = itertools.product(*(ramps(spans(length, tile)) for length in shape))
    for values, (rows, columns), (down, across) in zip(
        maps, windows(shape, tile), weights, strict=True
    ):
        piece = stretch(values, len(down), len(across))
        piece *= down[:, None]
        piece *= across
        total[rows, columns] += piece
    return total
