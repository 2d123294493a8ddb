"""COCO's two ways to describe a region, polygons and run-length codes, as boolean masks."""

import numpy as np


def region(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """The mask of an annotation's `segmentation` field.

    Args:
      segmentation: a list of polygons [x0, y0, x1, y1, ...] whose union is meant, or a dict with
        `size` [height, width] and `counts` (a list, or COCO's compressed string).
      height, width: pixels of the image.

    Returns:
      bool [height, width].

    Raises:
      ValueError: odd numbers of coordinates, or a code that does not fit the image.
    """
    if isinstance(segmentation, dict):
        return run_length(segmentation, height, width)
    mask = np.zeros((height, width), bool)
    for points in segmentation:
        if len(points) % 2:
            raise ValueError(f"a polygon has {len(points)} coordinates; expected an even number")
        mask |= polygon(np.asarray(points, np.float64).reshape(-1, 2), height, width)
    return mask


def polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels whose center lies inside a closed polygon, by the even-odd rule.

    The center of the pixel in row r and column c is (c + 0.5, r + 0.5), as in COCO's own masks.

    Args:
      points: float [N, 2] vertices (x, y) in pixels; what lies outside the image is cut off.
      height, width: pixels of the image.

    Returns:
      bool [height, width].
    """
    ends = np.roll(points, -1, axis=0)
    low = np.where((points[:, 1] <= ends[:, 1])[:, None], points, ends)
    high = np.where((points[:, 1] <= ends[:, 1])[:, None], ends, points)
    # An edge crosses the center lines of the rows first ... last - 1.
    first = np.clip(np.ceil(low[:, 1] - 0.5), 0, height).astype(int)
    last = np.clip(np.ceil(high[:, 1] - 0.5), 0, height).astype(int)
    count = last - first
    edge = np.repeat(np.arange(len(points)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    slope = (high - low)[edge]
    x = low[edge, 0] + (row + 0.5 - low[edge, 1]) * slope[:, 0] / slope[:, 1]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    mask = np.zeros((height, width), bool)
    if len(edge) == 0:
        return mask
    # Right of every crossing, inside and outside change places.
    top, left = row.min(), column.min()
    rows, columns = row.max() + 1 - top, column.max() + 1 - left
    crossings = np.bincount((row - top) * columns + column - left, minlength=rows * columns)
    inside = np.cumsum(crossings.reshape(rows, columns), axis=1) % 2 == 1
    mask[top : top + rows, left : left + columns] = inside[:, : width - left]
    return mask


def run_length(code: dict, height: int, width: int) -> np.ndarray:
    """Decodes COCO's run-length code: runs of 0 and 1 in turn, down the columns.

    Args:
      code: `size` [height, width] and `counts`, a list or a compressed string.
      height, width: pixels of the image.

    Returns:
      bool [height, width].

    Raises:
      ValueError: the size is not the image's, or the runs do not fill it.
    """
    size, counts = code["size"], code["counts"]
    runs = counts if isinstance(counts, list) else decompress(counts)
    if list(size) != [height, width] or sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(
            f"a run-length code covers {sum(runs)} pixels of a {list(size)} image; "
            f"expected {height * width} of {[height, width]}"
        )
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return bits.reshape(width, height).T


def decompress(text: str | bytes) -> list[int]:
    """The runs in COCO's compressed string.

    Each number is a series of characters of 6 bits (from '0' on): 5 bits of value, least
    significant first, and one bit that says whether more follow; the last one carries the sign.
    From the fourth number on it is the difference to the number two before.

    Raises:
      ValueError: the string ends within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in text.encode() if isinstance(text, str) else text:
        piece = byte - 48
        value |= (piece & 31) << shift
        shift += 5
        if piece & 32:
            continue
        if piece & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("a compressed run-length code ends within a number")
    return runs
