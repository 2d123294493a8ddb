"""Masks as label tools and COCO write them: run-length codes, polygons, their JSON files.

Reading the two forms of a region is `data_builders.coco_20i.rasterize`; this is the way back, and
the files around it. A mask is one class in one image: instances of a class are united.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool

from data_builders.coco_20i import rasterize
from data_builders.masks import read_mask
from data_builders.pictures import MAX_PIXELS


class ImageMasks(NamedTuple):
    """The masks of one image. `masks` maps class names to bool [height, width]."""

    file_name: str
    height: int
    width: int
    masks: dict[str, np.ndarray]


def to_rle(mask: Bool[np.ndarray, "h w"], *, compressed: bool = True) -> dict:
    """COCO's run-length code of a mask: `size` [h, w] and `counts`, a string or a list of runs."""
    down_the_columns = mask.T.ravel()
    ends = np.flatnonzero(np.diff(down_the_columns)) + 1
    runs = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    if mask.size and down_the_columns[0]:
        runs = [0, *runs]  # the first run is of background
    return {"size": list(mask.shape), "counts": compress(runs) if compressed else runs}


def compress(runs: list[int]) -> str:
    """Runs as COCO's compressed string, whose format `rasterize.decompress` explains."""
    text = bytearray()
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            piece, value = value & 31, value >> 5
            done = value == (-1 if piece & 16 else 0)
            text.append(48 + piece + (0 if done else 32))
            if done:
                break
    return text.decode()


def to_polygons(mask: Bool[np.ndarray, "h w"]) -> list[list[float]]:
    """Polygons along pixel borders that cover a mask exactly, one for each connected part.

    Holes are cut out by walking to them and back along the same line, which no area lies between;
    so `rasterize.region` of the polygons is the mask again, to the pixel.

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


def read_coco(path: Path) -> Iterator[ImageMasks]:
    """The images of a COCO instance file with the union of each class's regions.

    Images without annotations come too, with no masks. Crowd regions count as their class.

    Raises:
      ValueError: no JSON, not COCO's structure, or a region that does not fit its image.
    """
    content = _read_json(path)
    with _structure(path, "COCO annotations"):
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        by_image: dict[Any, list[dict]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
    for image in content["images"]:
        with _structure(path, "COCO annotations"):
            height, width = _size(image, "height", "width")
            masks = {}
            for annotation in by_image[image["id"]]:
                region = rasterize.region(annotation["segmentation"], height, width)
                _unite(masks, names[annotation["category_id"]], region)
            found = ImageMasks(str(image["file_name"]), height, width, masks)
        yield found


def write_coco(path: Path, images: Iterable[ImageMasks], *, polygons: bool = False) -> None:
    """Writes a COCO instance file, one annotation for each class in each image.

    Categories are numbered from 1 in alphabetic order. Empty masks give no annotation.

    Args:
      polygons: write regions as polygons instead of compressed run-length codes.
    """
    entries, annotations, names = [], [], set()
    for image_id, image in enumerate(images, 1):
        size = {"height": image.height, "width": image.width}
        entries.append({"id": image_id, "file_name": image.file_name, **size})
        for name, mask in sorted(image.masks.items()):
            names.add(name)
            if not mask.any():
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": name,
                    "segmentation": to_polygons(mask) if polygons else to_rle(mask),
                    "area": int(mask.sum()),
                    "bbox": _box(mask),
                    "iscrowd": 0,
                }
            )
    ids = {name: i for i, name in enumerate(sorted(names), 1)}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation["category_id"]]
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    _write_json(path, {"images": entries, "annotations": annotations, "categories": categories})


def read_labelme(path: Path) -> ImageMasks:
    """The masks of a labelme file, by label; `file_name` is its `imagePath`, with '/'.

    Polygons, rectangles, circles and masks are read; a pixel belongs to a shape that covers its
    center (labelme itself also draws the outline, which adds up to half a pixel).

    Raises:
      ValueError: no JSON, not labelme's structure, or a shape without area (point, line).
    """
    content = _read_json(path)
    masks: dict[str, np.ndarray] = {}
    with _structure(path, "a labelme file"):
        height, width = _size(content, "imageHeight", "imageWidth")
        for shape in content["shapes"]:
            _unite(masks, str(shape["label"]), _labelme_region(shape, height, width))
        file_name = str(content["imagePath"]).replace("\\", "/")
    return ImageMasks(file_name, height, width, masks)


def write_labelme(path: Path, image: ImageMasks) -> None:
    """Writes a labelme file that names its image; one polygon for each connected part of a mask."""
    shapes = [
        {
            "label": name,
            "points": np.reshape(points, (-1, 2)).tolist(),
            "group_id": group,
            "shape_type": "polygon",
            "flags": {},
        }
        for group, (name, mask) in enumerate(sorted(image.masks.items()), 1)
        for points in to_polygons(mask)
    ]
    content = {"version": "5.0.0", "flags": {}, "shapes": shapes, "imagePath": image.file_name}
    content |= {"imageData": None, "imageHeight": image.height, "imageWidth": image.width}
    _write_json(path, content)


def _labelme_region(shape: dict, height: int, width: int) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon"
    points = np.asarray(shape["points"], np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError(f"shape {shape['label']!r} has a point at infinity")
    if kind == "polygon":
        return rasterize.polygon(points, height, width)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(
            f"shape {shape['label']!r} is a {kind}, which has no area; "
            "expected a polygon, rectangle, circle or mask"
        )
    (x0, y0), (x1, y1) = points
    if kind == "rectangle":
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        return rasterize.polygon(corners, height, width)
    if kind == "circle":  # its center and a point on it
        y, x = np.ogrid[:height, :width]
        return np.hypot(x + 0.5 - x0, y + 0.5 - y0) <= np.hypot(x1 - x0, y1 - y0)
    inner = read_mask(base64.b64decode(shape["mask"]), "its mask", max_pixels=height * width)
    left, top = int(x0), int(y0)
    around = [(top, height - top - inner.shape[0]), (left, width - left - inner.shape[1])]
    return np.pad(inner, around)  # a negative width, of a mask beyond the image, is an error


@contextlib.contextmanager
def _structure(path: Path, expected: str) -> Iterator[None]:
    """Turns what a wrongly built file trips over into one clear line."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} is not {expected}: no {error} there") from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not {expected}: {error}") from error


def _size(entry: dict, height: str, width: str) -> tuple[int, int]:
    size = int(entry[height]), int(entry[width])
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"an image of {size[1]} x {size[0]} pixels; 1 to {MAX_PIXELS} are possible: crop it, or cut "
            "it into tiles"
        )
    return size


def _unite(masks: dict[str, np.ndarray], name: str, region: np.ndarray) -> None:
    masks[name] = masks[name] | region if name in masks else region


def _box(mask: np.ndarray) -> list[int]:
    """[x, y, width, height] of the smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:  # also bytes that are no text
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def _write_json(path: Path, content: Any) -> None:
    temporary = Path(f"{path}.partial")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
