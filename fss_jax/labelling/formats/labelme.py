"""labelme's JSON files, versions 3 to 6, and those of X-AnyLabeling and ISAT that are built alike."""

import base64
import io
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_builders import masks, pictures
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "labelme JSON"
NO_CLASS = ("__ignore__", "_background_", "_background", "__background__")
WITHOUT_AREA = ("point", "points", "line", "linestrip", "lines")
CORNERS = ("polygon", "rotation", "quadrilateral", "rotated_rectangle", "oriented_rectangle")


def recognizes(path: Path) -> bool:
    return "shapes" in _files.json_keys(path)


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The objects of a labelme file, by label; shapes with the same group are one object.

    Polygons, rectangles, circles and masks are read, by COCO's rule for which pixels a polygon
    covers (labelme itself also draws the outline, which adds up to half a pixel).

    Raises:
      ValueError: no JSON, or not labelme's structure.
    """
    content = _files.json_of(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise ValueError(f"{path} is not a labelme file: it has no list of shapes")
    shapes = [shape for shape in content["shapes"] if isinstance(shape, dict)]
    name = str(content.get("imagePath") or "").replace("\\", "/")
    image = finder.find(path, name or path.stem, beside=True)
    embedded = content.get("imageData")
    if image is None and finder.root is not None:
        if not isinstance(embedded, str) or not embedded:
            raise FileNotFoundError(f"{path} names the image {name}, which is not there")
        image = _embedded(embedded, path)
    what = f"{path}: the image"
    stated = annotations.size(
        content.get("imageHeight"), content.get("imageWidth"), what, len(shapes)
    )
    if image is None and stated is None and isinstance(embedded, str) and embedded:
        image = _embedded(embedded, path)
    try:
        if image is None or isinstance(image, Path):
            size = _files.settle(stated, image, _points(shapes))
        else:
            size = image.size[::-1]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    annotations.size(*size, what, len(shapes))
    groups: dict[tuple, np.ndarray] = {}
    for i, shape in enumerate(shapes):
        where = f"{path.name}: shape {i + 1} ({str(shape.get('label'))[:40]!r})"
        with _files.leaving_out(told, where, "a shape of labelme"):
            label = shape["label"]
            if not isinstance(label, str | int | float) or label == "":
                raise ValueError("shapes without a label")
            if label in NO_CLASS:
                raise ValueError(f"the label {label}, which is no class")
            group = shape.get("group_id")
            key = (str(label), i if group is None else f"group {group}")
            region = _region(shape, *size)
            groups[key] = groups[key] | region if key in groups else region
    things = [Object(label, mask) for (label, _), mask in groups.items()]
    yield annotations.image_of(name or path.stem, *size, things, image)


def _embedded(data: str, path: Path):
    try:
        raw = base64.b64decode(data)
    except ValueError:
        raise ValueError(f"{path}: imageData is no picture") from None
    return pictures.open_picture(io.BytesIO(raw), f"imageData of {path}")


def _points(shapes: list[dict]) -> list[tuple[float, float]]:
    found = []
    for shape in shapes:
        try:
            found += [(float(x), float(y)) for x, y in shape["points"]]
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return found


def _region(shape: dict, height: int, width: int) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon"
    if kind in WITHOUT_AREA:
        raise ValueError(f"a {kind} has no area")
    try:
        points = np.asarray(shape["points"], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("points that are no pairs of numbers") from None
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("points that are no pairs of finite numbers")
    if kind in CORNERS or (kind == "rectangle" and len(points) == 4):
        if len(points) < 3:
            raise ValueError(f"a {kind} of {len(points)} points has no area")
        return annotations.polygon(points, height, width)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"a {kind}; known are polygons, rectangles, circles and masks")
    if len(points) != 2:
        raise ValueError(f"a {kind} of {len(points)} points; expected 2")
    (x0, y0), (x1, y1) = points.tolist()
    if kind == "rectangle":
        return annotations.rectangle(x0, y0, x1, y1, height, width)
    if kind == "circle":  # its center and a point on it
        radius = math.hypot(x1 - x0, y1 - y0)
        return annotations.ellipse(x0, y0, radius, radius, height, width)
    try:
        data = base64.b64decode(shape["mask"])
    except (TypeError, ValueError):
        raise ValueError("a mask that is no picture") from None
    inner = masks.read_mask(io.BytesIO(data), "a shape's mask", max_pixels=4 * height * width)
    result = np.zeros((height, width), bool)
    top, left = (max(min(int(v), 2**31), -(2**31)) for v in (y0, x0))
    part = inner[max(-top, 0) :, max(-left, 0) :]
    target = result[max(top, 0) :, max(left, 0) :]  # what lies beyond the image is cut off
    rows, columns = min(len(part), len(target)), min(part.shape[1], target.shape[1])
    target[:rows, :columns] = part[:rows, :columns]
    return result


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes a file for each image; parts of an object share a group."""
    for stem, image in annotations.named(images):
        write_one(place / f"{stem}.json", image)


def write_one(path: Path, image: ImageMasks) -> None:
    """Writes a labelme file; one polygon for each connected part of a mask."""
    name = image.file_name
    if isinstance(image.image, Path):
        folder = os.path.realpath(path.parent)  # a linked folder lies elsewhere
        name = Path(os.path.relpath(os.path.realpath(image.image), folder)).as_posix()
    shapes = [
        {
            "label": thing.name,
            "points": np.reshape(points, (-1, 2)).tolist(),
            "group_id": group,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for group, thing in enumerate(image.things(), 1)
        for points in annotations.to_polygons(thing.mask)
    ]
    content = {"version": "5.0.0", "flags": {}, "shapes": shapes, "imagePath": name}
    content |= {"imageData": None, "imageHeight": image.height, "imageWidth": image.width}
    files.write_json(path, content, indent=None)
