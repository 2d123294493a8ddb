"""Label Studio's JSON export: brush masks (its own run-length code), polygons, boxes and ellipses."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files, _thi
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "Label Studio JSON"
FILE = "tasks.json"
KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".jfif",
)


def recognizes(path: Path) -> bool:
    if not _files.is_json(path):
        return False
    try:
        return any(_is_task(task) for task in _tasks(path))
    except ValueError:
        return False


def _tasks(path: Path) -> list:
    content = _files.json_of(path)
    return content if isinstance(content, list) else [content]


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and bool(
        {"annotations", "completions", "predictions"} & task.keys()
    )  # fmt: skip


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images of an export, each with the objects of its last annotation that was not cancelled.

    Raises:
      ValueError: no JSON, or no list of tasks.
    """
    tasks = _tasks(path)
    if not any(_is_task(task) for task in tasks):
        raise ValueError(f"{path} is not Label Studio's export: no task with data and annotations")
    for i, task in enumerate(tasks, 1):
        where = f"{path.name}: task {i}"
        with _files.leaving_out(told, where, "a task"):
            if not _is_task(task):
                raise ValueError("tasks without data or annotations")
            yield _image(path, task, where, told, finder)


def _image(path: Path, task: dict, where: str, told: Told, finder: Finder) -> ImageMasks:
    done = task.get("annotations") or task.get("completions") or []
    kept = [a for a in done if isinstance(a, dict) and not a.get("was_cancelled")]
    results = kept[-1].get("result") if kept else []
    results = [r for r in results or [] if isinstance(r, dict) and isinstance(r.get("value"), dict)]
    name = _path(image_address(task["data"]))
    image = finder.find(path, name)
    if image is None and finder.root is not None:
        raise ValueError(f"the image {name} is not there")
    sizes = {(r.get("original_height"), r.get("original_width")) for r in results}
    sizes = {annotations.size(*size, name, len(results)) for size in sizes} - {None}
    if len(sizes) > 1:
        raise ValueError(f"{name} has regions for images of different sizes")
    stated = next(iter(sizes), None)
    # Shares of the upright image fit any size; a brush is stored for the size that is stated.
    has_brush = any("rle" in r["value"] for r in results)
    size = _files.settle(stated if has_brush or image is None else None, image, [])
    things = []
    for i, result in enumerate(results, 1):
        with _files.leaving_out(told, f"{where}, region {i}", "a region"):
            if kind := result.get("type"):
                if kind in ("keypointlabels", "vectorlabels", "videorectangle"):
                    raise ValueError(f"a {kind} has no area")
                if not str(kind).startswith(("brush", "polygon", "rectangle", "ellipse")):
                    continue  # a choice, a rating: says nothing of pixels
            labels = next((result["value"][k] for k in KINDS if result["value"].get(k)), None)
            if not isinstance(labels, list) or not labels:
                raise ValueError("regions without a label")
            mask = _region(result["value"], *size)
            things += [Object(str(label), mask) for label in labels]
    return annotations.image_of(name, *size, things, image)


def image_address(data: dict, key: str = "") -> str:
    """Where a task's data says that its image is: the value of `key`, else of 'image', else the first
    that looks like one.

    Raises:
      ValueError: nothing does.
    """
    if key and isinstance(data.get(key), str):
        return data[key]
    values = [data.get("image"), *data.values()]
    for value in values:
        if isinstance(value, str):
            if value == data.get("image") or _path(value).lower().partition("?")[0].endswith(
                ENDINGS
            ):
                return value
    raise ValueError("tasks whose data names no image")


def _path(address: str) -> str:
    """A local storage names the path in its query."""
    path = address.replace("\\", "/")
    return path.partition("?d=")[2] or path


def _region(value: dict, height: int, width: int) -> np.ndarray:
    if "rle" in value:
        if value.get("format", "rle") != "rle":
            raise ValueError(f"a brush coded as {str(value['format'])[:20]!r}; known is rle")
        return _thi.decode(value["rle"], height, width)
    if "points" in value:
        try:
            points = np.asarray(value["points"], np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("a polygon that holds something else than pairs of numbers") from None
        return annotations.polygon(points * [width / 100, height / 100], height, width)
    keys = ("x", "y", "width", "height") if "width" in value else ("x", "y", "radiusX", "radiusY")
    try:
        x, y, w, h = (float(value[key]) for key in keys)
        turn = math.radians(float(value.get("rotation") or 0))
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a region whose place is no number") from None
    except KeyError:
        raise ValueError("regions of an unknown shape") from None
    x, w, y, h = x * width / 100, w * width / 100, y * height / 100, h * height / 100
    if "width" not in value:
        return annotations.ellipse(x, y, w, h, height, width, turn)
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]])  # turned around the upper left corner
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return annotations.polygon(corners @ turned.T + [x, y], height, width)


def write(place: Path, images: Iterable[ImageMasks], *, polygons: bool = False, **_) -> None:
    """Writes PLACE/tasks.json: each object as a brush mask, which is exact, or as polygons."""
    tasks = []
    for i, image in enumerate(images, 1):
        results = []
        for thing in image.things():
            for region in regions(thing.name, thing.mask, "tag", "image", polygons=polygons):
                results.append({"id": f"{i}_{len(results) + 1}", **region})
        tasks.append(
            {
                "id": i,
                "data": {"image": image.file_name},
                "annotations": [{"id": i, "result": results}],
            }
        )
    files.write_json(place / FILE, tasks, indent=None)


def regions(
    label: str, mask: np.ndarray, from_name: str, to_name: str, *, polygons: bool = False
) -> Iterator[dict]:
    """A mask, bool [H, W], as one brush region, or as a polygon for each part; without an `id`.

    Args:
      from_name, to_name: the tags of the labeling configuration: what labels, and the image.
    """
    kind = "polygonlabels" if polygons else "brushlabels"
    for value in _values(mask, polygons):
        yield {
            "type": kind,
            "from_name": from_name,
            "to_name": to_name,
            "original_width": mask.shape[1],
            "original_height": mask.shape[0],
            "image_rotation": 0,
            "value": value | {kind: [label]},
        }


def _values(mask: np.ndarray, polygons: bool) -> Iterator[dict]:
    if not polygons:
        yield {"format": "rle", "rle": _thi.encode(mask)}
        return
    for points in annotations.to_polygons(mask):
        shares = np.reshape(points, (-1, 2)) * 100 / np.array(mask.shape[::-1])
        yield {"points": shares.tolist(), "closed": True}
