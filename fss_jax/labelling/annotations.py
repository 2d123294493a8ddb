"""What every label tool's file comes down to: the objects of an image, each a name and a mask.

`formats` has one module for each kind of file. Regions are coded and decoded by pycocotools: on two
cores a polygon mask of 2000 x 3000 pixels takes it 0.37 s where code of ours took 0.67 s, a
run-length code 12 ms where it took 85 (2026-11-25), with the same pixels.
"""

import collections
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool
from PIL import Image
from pycocotools import mask as coco_mask

from data_builders import text
from data_builders.pictures import MAX_PIXELS

MAX_MASK_PIXELS = 2**29  # of all masks of an image together: bytes in memory
Picture = Path | Image.Image | None


class Object(NamedTuple):
    """One thing: its class's name and its mask, bool [H, W]."""

    name: str
    mask: np.ndarray


class ImageMasks(NamedTuple):
    """The masks of one image.

    Attributes:
      file_name: as the annotation says, with '/'.
      masks: class names to bool [height, width]: the union of a class's objects.
      objects: the same one by one, where the file tells them apart; else empty.
      image: where the image lies, or itself; None where it was not looked for.
    """

    file_name: str
    height: int
    width: int
    masks: Mapping[str, np.ndarray]
    objects: Sequence[Object] = ()
    image: Picture = None

    def things(self) -> tuple[Object, ...]:
        """The objects; where they are not told apart, one for each class. Empty ones are left out."""
        some = self.objects or tuple(Object(*item) for item in sorted(self.masks.items()))
        return tuple(thing for thing in some if thing.mask.any())


class Told:
    """Collects what was left out or taken for granted, so that it is counted and named once."""

    def __init__(self):
        self._seen: dict[str, list[str]] = {}

    def add(self, what: str, where: object) -> None:
        """`what` is left out or assumed, in or for `where`."""
        self._seen.setdefault(what, []).append(str(where))

    def __bool__(self) -> bool:
        return bool(self._seen)

    def lines(self) -> list[str]:
        """One line for each kind: how often, and the first places."""
        lines = []
        for what, places in self._seen.items():
            names = list(dict.fromkeys(places))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            times = f"{len(places)} times " if len(places) > 1 else ""
            lines.append(f"{what}: {times}in {', '.join(names[:3])}{more}")
        return lines


def image_of(
    file_name: str, height: int, width: int, things: Iterable[Object], image: Picture = None
) -> ImageMasks:
    """An image's masks from its objects; those of a class are united, too."""
    things = tuple(things)
    return ImageMasks(file_name, height, width, united(things), things, image)


def united(things: Iterable[Object]) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for name, mask in things:
        masks[name] = masks[name] | mask if name in masks else mask
    return masks


def split(image: ImageMasks) -> ImageMasks:
    """Connected parts as objects of their own; holes stay holes. Corners connect, as in labelme."""
    things = []
    for name, mask in sorted(image.masks.items()):
        parts, _ = scipy.ndimage.label(mask, np.ones((3, 3)))
        for i, place in enumerate(scipy.ndimage.find_objects(parts), 1):
            part = np.zeros(mask.shape, bool)
            part[place] = parts[place] == i
            things.append(Object(name, part))
    return image._replace(objects=tuple(things))


def to_rle(mask: Bool[np.ndarray, "h w"], *, compressed: bool = True) -> dict:
    """COCO's run-length code of a mask: `size` [h, w] and `counts`, a string or a list of runs."""
    if not compressed:
        return {"size": list(mask.shape), "counts": runs_of(mask.T.ravel())}
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def runs_of(bits: np.ndarray) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn; the first is of 0."""
    ends = np.flatnonzero(np.diff(bits)) + 1
    runs = np.diff(np.concatenate([[0], ends, [bits.size]])).tolist()
    return [0, *runs] if bits.size and bits[0] else runs


def from_runs(runs: Sequence[int], length: int) -> np.ndarray:
    """The opposite of `runs_of`, bool [length].

    Raises:
      ValueError: the runs are no lengths, or do not add up to `length`.
    """
    try:
        lengths = np.asarray(runs if len(runs) else [0])
    except (TypeError, ValueError, OverflowError):
        lengths = np.empty(0, object)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min(initial=0) < 0:
        raise ValueError("a run-length code holds something else than lengths of runs")
    if lengths.max(initial=0) > length or int(lengths.astype(np.int64).sum()) != length:
        raise ValueError(f"a run-length code covers {lengths.sum()} pixels; expected {length}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def from_rle(code: dict, height: int, width: int) -> np.ndarray:
    """A mask from COCO's run-length code, bool [height, width].

    Raises:
      ValueError: another size, or runs that do not fill it.
    """
    size, counts = code.get("size"), code.get("counts")
    if list(size or []) != [height, width]:
        raise ValueError(f"a run-length code is for {size}, its image is {[height, width]}")
    if isinstance(counts, list):
        return from_runs(counts, height * width).reshape(width, height).T
    if not isinstance(counts, str | bytes):
        raise ValueError("a run-length code has no counts")
    data = counts.encode() if isinstance(counts, str) else counts
    pieces = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    # The C library reads on where a code ends within a number, and writes what it is told to.
    if len(pieces) == 0 or pieces.min() < 0 or pieces.max() > 63 or pieces[-1] & 32:
        raise ValueError("a compressed run-length code is damaged")
    if _length(pieces) != height * width:
        raise ValueError(f"a run-length code does not cover {height} x {width} pixels")
    return coco_mask.decode({"size": [height, width], "counts": data}).astype(bool)


def _length(pieces: np.ndarray) -> int:
    """The pixels that a compressed code covers; -1 if a run is negative."""
    last = np.flatnonzero((pieces & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:  # 35 bits
        return -1
    place = np.arange(len(pieces)) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((pieces & 31) << (5 * place), first)
    values -= np.where(pieces[last] & 16, np.int64(1) << (5 * (last - first + 1)), 0)
    # From the fourth number on each is the difference to the one two before.
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return int(runs.sum()) if runs.min() >= 0 else -1


def polygon(points: Any, height: int, width: int) -> np.ndarray:
    """The mask of one closed polygon by COCO's rule; what lies outside is cut off.

    Args:
      points: [N, 2] corners (x, y) in pixels, or the same flat.

    Raises:
      ValueError: fewer than three corners, or numbers that are none.
    """
    try:
        flat = np.asarray(points, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a polygon holds something else than numbers") from None
    if flat.size % 2 or flat.size < 6:
        raise ValueError(
            f"a polygon has {flat.size} coordinates; expected an even number from 6 on"
        )
    if not np.isfinite(flat).all():
        raise ValueError("a polygon has a point at infinity")
    low, high = -1.0, max(height, width) + 1.0
    if flat.min() < -4 * high or flat.max() > 5 * high:
        # The library walks along every edge: a point far away would take it forever.
        flat = _clipped(flat.reshape(-1, 2), low, high).ravel()
        if flat.size < 6:
            return np.zeros((height, width), bool)
    return coco_mask.decode(coco_mask.frPyObjects([flat.tolist()], height, width))[..., 0] > 0


def _clipped(points: np.ndarray, low: float, high: float) -> np.ndarray:
    """A polygon cut off at a square, side by side (Sutherland and Hodgman)."""
    for axis in range(2):
        for sign, bound in ((1.0, low), (-1.0, -high)):
            if not len(points):
                return points
            inside = sign * points[:, axis] >= bound
            kept = []
            for i in range(len(points)):
                a, b = points[i - 1], points[i]
                if inside[i] != inside[i - 1]:
                    share = (sign * bound - a[axis]) / (b[axis] - a[axis])
                    kept.append(a + share * (b - a))
                if inside[i]:
                    kept.append(b)
            points = np.array(kept).reshape(-1, 2)
    return points


def rectangle(x0: float, y0: float, x1: float, y1: float, height: int, width: int) -> np.ndarray:
    """The mask of a box given by two opposite corners."""
    return polygon([x0, y0, x1, y0, x1, y1, x0, y1], height, width)


def ellipse(
    x: float, y: float, rx: float, ry: float, height: int, width: int, turn: float = 0.0
) -> np.ndarray:
    """The pixels whose centers lie in an ellipse around (x, y), turned by `turn` radians."""
    if not all(map(math.isfinite, (x, y, rx, ry, turn))) or min(rx, ry) <= 0:
        raise ValueError("an ellipse has no size")
    row, column = np.ogrid[:height, :width]
    dx, dy = column + 0.5 - x, row + 0.5 - y
    cos, sin = math.cos(turn), math.sin(turn)
    return ((dx * cos + dy * sin) / rx) ** 2 + ((dy * cos - dx * sin) / ry) ** 2 <= 1


def to_polygons(mask: Bool[np.ndarray, "h w"]) -> list[list[float]]:
    """Polygons along pixel borders that cover a mask exactly, one for each connected part.

    Holes are cut out by walking to them and back along the same line, which no area lies between;
    so the union of `polygon` of each is the mask again, to the pixel.

    Returns:
      [x0, y0, x1, y1, ...] for each 4-connected part.
    """
    parts, _ = scipy.ndimage.label(mask)
    polygons = []
    for i, (rows, columns) in enumerate(scipy.ndimage.find_objects(parts), 1):
        first, *others = _loops(parts[rows, columns] == i)
        points = list(first)
        for loop in others:
            points += [first[0], *loop, loop[0]]
        if others:
            points.append(first[0])
        corner = np.array([columns.start, rows.start])
        polygons.append((np.array(points) + corner).ravel().astype(float).tolist())
    return polygons


def _loops(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """The closed border lines of a mask, as corner points (x, y); the outermost one first."""
    m = np.pad(mask, 1)
    a, b, c, d = m[:-1, :-1], m[:-1, 1:], m[1:, :-1], m[1:, 1:]
    # A border turns where an odd number of the four pixels around a grid point is set. Where two
    # touch in the point only, two borders cross, which the even-odd rule does not mind.
    y, x = np.nonzero(a ^ b ^ c ^ d)
    # Along each row and each column of the grid, turns are joined two by two.
    across, down = np.arange(len(x)), np.lexsort((y, x))
    beside, below = np.empty(len(x), int), np.empty(len(x), int)
    for order, partner in ((across, beside), (down, below)):
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    loops, seen = [], np.zeros(len(x), bool)
    for start in range(len(x)):
        loop, at = [], start
        while not seen[at]:
            for partner in (beside, below):
                seen[at] = True
                loop.append((int(x[at]), int(y[at])))
                at = partner[at]
        if loop:
            loops.append(loop)
    return loops


def box(mask: np.ndarray) -> list[int]:
    """[x, y, width, height] of the smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def size(height: Any, width: Any, what: str, objects: int = 1) -> tuple[int, int] | None:
    """A size that a file states, as numbers; None if it states none.

    Raises:
      ValueError: no size that an image can have, or too many objects to hold their masks.
    """
    if height in (None, "", 0) or width in (None, "", 0):
        return None
    try:
        sides = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{what} states the size {width!r} x {height!r}; expected pixels"
        ) from None
    if min(sides) < 1 or sides[0] * sides[1] > MAX_PIXELS:
        raise ValueError(
            f"{what} is {sides[1]} x {sides[0]} pixels large; 1 to {MAX_PIXELS} are possible: crop it, "
            "or cut it into tiles"
        )
    if sides[0] * sides[1] * objects > MAX_MASK_PIXELS:
        raise ValueError(
            f"{what} has {objects} objects of {sides[1]} x {sides[0]} pixels: too many"
        )
    return sides


def read_json(path: Path) -> Any:
    """A JSON file's content, whatever its byte order mark.

    Raises:
      ValueError: it is not JSON.
    """
    try:
        return json.loads(text.read(path))
    except RecursionError:
        raise ValueError(f"{path} is not JSON that can be read (nested too deep)") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from None


def named(images: Iterable[ImageMasks]) -> Iterator[tuple[str, ImageMasks]]:
    """A file stem for each image that no other of them has, and the image."""
    taken: collections.Counter[str] = collections.Counter()
    for image in images:
        stem = Path(image.file_name).with_suffix("").as_posix().lstrip("./") or "image"
        if taken[stem.lower()]:
            stem = Path(image.file_name).as_posix().lstrip("./").replace(".", "_")
        taken[stem.lower()] += 1
        yield stem, image
