"""COCO's instance files: polygons and run-length codes; its panoptic files are read, too."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_builders import pictures
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "COCO JSON"
FILE = "annotations.json"


def recognizes(path: Path) -> bool:
    return {"annotations", "images"} <= _files.json_keys(path)


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images of an instance or panoptic file, each with its objects.

    Images without annotations come too, with no masks. Crowd regions count as their class.

    Raises:
      ValueError: no JSON, or not COCO's structure.
    """
    content = _files.json_of(path)
    lists = ("images", "annotations", "categories")
    for key in lists:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{path} is not COCO annotations: no list of {key} there")
    names: dict[str, str] = {}
    for category in content["categories"]:
        with _files.leaving_out(told, path.name, "a category"):
            names[_key(category["id"])] = str(category["name"])
    by_image: dict[str, list[dict]] = {}
    images: dict[str, dict] = {}
    for i, image in enumerate(content["images"], 1):
        with _files.leaving_out(told, f"{path.name}: image {i}", "an image"):
            if _key(image["id"]) in images:
                raise ValueError("two images with one id")
            if not isinstance(image["file_name"], str):
                raise ValueError("a file_name that is no text")
            images[_key(image["id"])] = image
            by_image[_key(image["id"])] = []
    for i, annotation in enumerate(content["annotations"], 1):
        number = annotation.get("id", i) if isinstance(annotation, dict) else i
        with _files.leaving_out(told, f"{path.name}: annotation {number}", "an annotation"):
            key = _key(annotation["image_id"])
            if key not in by_image:
                raise ValueError("annotations of an image that is not listed")
            by_image[key].append(annotation)
    for key, image in images.items():
        name = image["file_name"].replace("\\", "/")
        with _files.leaving_out(told, f"{path.name}: {name}", "an image"):
            found = _image(path, image, name, by_image[key], names, told, finder)
            yield found


def _image(path, entry, name, regions, names, told: Told, finder: Finder) -> ImageMasks:
    where = finder.find(path, name)
    if where is None and finder.root is not None:
        raise ValueError(f"the image {name} is not there")
    panoptic = any("segments_info" in region for region in regions)
    count = sum(len(r.get("segments_info") or [1]) for r in regions) if panoptic else len(regions)
    stated = annotations.size(entry.get("height"), entry.get("width"), name, count)
    if panoptic:
        things, size = _panoptic(path, name, regions, names, told)
        if stated not in (None, size):
            raise ValueError(f"{name} has segments of {size[1]} x {size[0]} pixels, not its size")
        return annotations.image_of(name, *size, things, where)
    stated = stated or next(filter(None, map(_coded_size, regions)), None)
    size = _files.settle(stated, where, [xy for region in regions for xy in _points(region)])
    annotations.size(*size, name, count)
    things = []
    for i, region in enumerate(regions, 1):
        label = f"{path.name}: annotation {region.get('id', f'{i} of {name}')}"
        with _files.leaving_out(told, label, "an annotation"):
            category = _key(region["category_id"])
            if category not in names:
                raise ValueError("annotations of a category that is not listed")
            things.append(Object(names[category], _region(region.get("segmentation"), *size)))
    return annotations.image_of(name, *size, things, where)


def _key(value: Any) -> str:
    """An id, whether it is a number or its text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"an id that is neither a number nor a text: {str(value)[:40]}")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _polygons(segmentation: Any) -> list:
    """Lists of coordinates, however somebody nested them: [x, y, ..], [[x, y, ..]], [[x, y], ..]."""
    if not isinstance(segmentation, list) or not segmentation:
        return []
    if all(isinstance(value, int | float) for value in segmentation):
        return [segmentation]
    if all(isinstance(part, list) and len(part) == 2 for part in segmentation):
        return [segmentation]
    return segmentation


def _points(region: dict) -> list[tuple[float, float]]:
    found = []
    for part in _polygons(region.get("segmentation")):
        try:
            flat = np.asarray(part, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            continue
        found += [tuple(xy) for xy in flat.tolist()]
    return found


def _coded_size(region: dict) -> tuple[int, int] | None:
    code = region.get("segmentation")
    if isinstance(code, dict) and isinstance(code.get("size"), list) and len(code["size"]) == 2:
        return annotations.size(*code["size"], "a run-length code")
    return None


def _region(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, dict):
        return annotations.from_rle(segmentation, height, width)
    parts = _polygons(segmentation)
    if not parts:
        raise ValueError("annotations without a segmentation (only a box)")
    mask = np.zeros((height, width), bool)
    for part in parts:
        try:
            mask |= annotations.polygon(part, height, width)
        except ValueError as error:
            raise ValueError(f"segmentation: {error}") from None
    return mask


def _panoptic(path: Path, name: str, regions, names, told: Told):
    """The segments of a PNG whose colors are ids: R + 256 G + 65536 B."""
    things, size = [], None
    for region in regions:
        file = str(region["file_name"]).replace("\\", "/")
        spots = [path.parent / path.stem / file, path.parent / file]
        spot = next((spot for spot in spots if spot.is_file()), None)
        if spot is None:
            raise ValueError(f"the segments {file} of {name} are at none of {spots[0]}, {spots[1]}")
        rgb = pictures.to_rgb(pictures.open_picture(spot)).astype(np.int64)
        ids = rgb @ np.array([1, 256, 65536])
        size = ids.shape
        for segment in region["segments_info"]:
            with _files.leaving_out(told, f"{path.name}: {file}", "a segment"):
                category = _key(segment["category_id"])
                if category not in names:
                    raise ValueError("segments of a category that is not listed")
                things.append(Object(names[category], ids == int(segment["id"])))
    return things, size


def write(place: Path, images: Iterable[ImageMasks], *, polygons: bool = False, **_) -> None:
    """Writes PLACE/annotations.json, with polygons or (exact, smaller) run-length codes."""
    write_one(place / FILE, images, polygons=polygons)


def write_one(path: Path, images: Iterable[ImageMasks], *, polygons: bool = False) -> None:
    """Writes a COCO instance file, one annotation for each object of each image.

    Categories are numbered from 1 in alphabetic order. Empty masks give no annotation.

    Args:
      polygons: write regions as polygons instead of compressed run-length codes.
    """
    entries, found, names = [], [], set()
    for image_id, image in enumerate(images, 1):
        size = {"height": image.height, "width": image.width}
        entries.append({"id": image_id, "file_name": image.file_name, **size})
        names |= set(image.masks)
        for name, mask in image.things():
            region = annotations.to_polygons(mask) if polygons else annotations.to_rle(mask)
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image_id,
                    "category_id": name,
                    "segmentation": region,
                    "area": int(mask.sum()),
                    "bbox": annotations.box(mask),
                    "iscrowd": 0,
                }
            )
    ids = {name: i for i, name in enumerate(sorted(names), 1)}
    for annotation in found:
        annotation["category_id"] = ids[annotation["category_id"]]
    categories = [{"id": i, "name": name, "supercategory": ""} for name, i in ids.items()]
    content = {"info": {"description": "written by fss_jax"}, "licenses": [], "images": entries}
    content |= {"annotations": found, "categories": categories}
    files.write_json(path, content, indent=None)
