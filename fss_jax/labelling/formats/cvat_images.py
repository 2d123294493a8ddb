"""CVAT's "CVAT for images 1.1": annotations.xml with polygons, boxes, ellipses and masks."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from data_builders import text
from fss_jax.labelling import annotations
from fss_jax.labelling.annotations import ImageMasks, Object, Told
from fss_jax.labelling.formats import _files
from fss_jax.labelling.formats._files import Finder
from fss_jax.runtime import files

TITLE = "CVAT for images 1.1"
FILE = "annotations.xml"
WITHOUT_AREA = ("points", "polyline", "cuboid", "skeleton", "tag")


def recognizes(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() != ".xml":
        return False
    try:
        root = _tree(path)
    except ValueError:
        return False
    return root.tag == "annotations" and root.find("image") is not None


def read(path: Path, told: Told, finder: Finder) -> Iterator[ImageMasks]:
    """The images of an annotations.xml, each with its objects; shapes of one group are one object.

    Raises:
      ValueError: no XML, or not CVAT's.
    """
    root = _tree(path)
    if root.tag != "annotations":
        raise ValueError(f"{path} is not CVAT's annotations: its root is {root.tag[:40]!r}")
    for entry in root.iter("image"):
        name = (entry.get("name") or "").replace("\\", "/")
        with _files.leaving_out(told, f"{path.name}: {name}", "an image"):
            if not name:
                raise ValueError("images without a name")
            yield _image(path, entry, name, told, finder)


def _image(path: Path, entry, name: str, told: Told, finder: Finder) -> ImageMasks:
    image = finder.find(path, name)
    if image is None and finder.root is not None:
        raise ValueError(f"the image {name} is not there")
    stated = annotations.size(entry.get("height"), entry.get("width"), name, len(entry))
    points = [xy for shape in entry.iter("polygon") for xy in _points(shape).tolist()]
    size = _files.settle(stated, image, points)
    annotations.size(*size, name, len(entry))
    groups: dict[tuple, np.ndarray] = {}
    for i, shape in enumerate(entry, 1):
        where = f"{path.name}: {name}, shape {i}"
        with _files.leaving_out(told, where, "a shape of CVAT"):
            label, group = shape.attrib["label"], shape.get("group_id") or "0"
            key = (label, f"group {group}" if group != "0" else i)
            region = _region(shape, *size)
            groups[key] = groups[key] | region if key in groups else region
    things = [Object(label, mask) for (label, _), mask in groups.items()]
    return annotations.image_of(name, *size, things, image)


def _region(shape, height: int, width: int) -> np.ndarray:
    if shape.tag in WITHOUT_AREA:
        raise ValueError(f"a {shape.tag} has no area")
    if shape.tag == "polygon":
        return annotations.polygon(_points(shape), height, width)
    if shape.tag not in ("box", "ellipse", "mask"):
        raise ValueError(f"a {shape.tag[:40]}; known are polygons, boxes, ellipses and masks")
    turn = math.radians(_number(shape, "rotation", "0"))
    if shape.tag == "ellipse":
        values = [_number(shape, key) for key in ("cx", "cy", "rx", "ry")]
        return annotations.ellipse(*values, height, width, turn)
    if shape.tag == "box":
        x0, y0, x1, y1 = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        center = corners.mean(0)
        turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        return annotations.polygon((corners - center) @ turned.T + center, height, width)
    left, top, columns, rows = (int(_number(shape, k)) for k in ("left", "top", "width", "height"))
    if (
        min(left, top) < 0
        or min(columns, rows) < 1
        or left + columns > width
        or top + rows > height
    ):
        raise ValueError("a mask beyond its image")
    try:
        runs = [int(run) for run in shape.attrib["rle"].split(",")]
    except ValueError:
        raise ValueError("a mask whose rle is no list of numbers") from None
    mask = np.zeros((height, width), bool)
    inner = annotations.from_runs(runs, rows * columns).reshape(rows, columns)
    mask[top : top + rows, left : left + columns] = inner
    return mask


def _number(shape, key: str, default: str | None = None) -> float:
    text_ = shape.get(key, default)
    try:
        value = float(text_)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or abs(value) > 2**31:
        raise ValueError(f"a {shape.tag} whose {key} is {str(text_)[:20]!r}; expected a number")
    return value


def _points(shape) -> np.ndarray:
    try:
        pairs = [xy.split(",") for xy in shape.get("points", "").split(";") if xy.strip()]
        return np.array(pairs, np.float64).reshape(-1, 2)
    except ValueError:
        return np.empty((0, 2))


def _tree(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type: nothing in it can grow or reach outside."""
    content = text.read(path)
    if "<!DOCTYPE" in content or "<!ENTITY" in content:
        raise ValueError(f"{path} has a document type, which CVAT does not write")
    try:
        return ElementTree.fromstring(
            content.partition("?>")[2] if content.startswith("<?") else content
        )
    except (ElementTree.ParseError, RecursionError) as error:
        raise ValueError(f"{path} is not XML ({error})") from None


def write(place: Path, images: Iterable[ImageMasks], **_) -> None:
    """Writes PLACE/annotations.xml: each object as a mask, which is exact."""
    images = list(images)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name in sorted({name for image in images for name in image.masks}):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = _text(name)
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    for i, image in enumerate(images):
        size = {"width": str(image.width), "height": str(image.height)}
        entry = ElementTree.SubElement(
            root, "image", {"id": str(i), "name": _text(image.file_name), **size}
        )
        for thing in image.things():
            left, top, width, height = annotations.box(thing.mask)
            inner = thing.mask[top : top + height, left : left + width]
            rle = ", ".join(map(str, annotations.runs_of(inner.ravel())))
            fields = {"label": _text(thing.name), "source": "manual", "occluded": "0", "rle": rle}
            fields |= {"left": str(left), "top": str(top), "width": str(width)}
            ElementTree.SubElement(entry, "mask", fields | {"height": str(height), "z_order": "0"})
    ElementTree.indent(root)
    body = ElementTree.tostring(root, "unicode")
    files.write_text(place / FILE, f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n')


def _text(value: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" else "�" for c in value)
