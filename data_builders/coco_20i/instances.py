"""COCO 2017's images and instance annotations, from folders or from the official zip archives."""

import dataclasses
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_builders import archives, downloads, segmentation
from data_builders.coco_20i import rasterize

URLS = {
    "train2017": "http://images.cocodataset.org/zips/train2017.zip",
    "val2017": "http://images.cocodataset.org/zips/val2017.zip",
    "annotations": "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
}
MANUAL = """\
Either give no folder: COCO 2017 is downloaded (20 GB). Or give the folder that holds train2017,
val2017 and annotations; train2017.zip, val2017.zip and annotations_trainval2017.zip do as well.
"""
MAX_JSON_BYTES = 2**30  # instances_train2017.json has 448 MB

CLASS_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack"),
    *("umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *("kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket"),
    *("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair"),
    *("couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink"),
    *("refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier"),
    "toothbrush",
)


def held_out(fold: int, blocks: bool = False) -> list[int]:
    """The 20 class ids of a fold: 4 v + fold + 1 for v in 0..19, or 20 fold + 1 and the 19 after it.

    The first is FWB's, HSNet's and PFENet's `use_split_coco`; the second (`blocks`) is PANet's and
    PFENet's default.
    """
    return list(range(20 * fold + 1, 20 * fold + 21) if blocks else range(fold + 1, 81, 4))


class Region(NamedTuple):
    """One annotation: its class id, whether it is a crowd, and COCO's `segmentation` field."""

    class_id: int
    crowd: bool
    segmentation: list | dict


@dataclasses.dataclass(frozen=True)
class Picture:
    """A listed image: where its file lies, its size and its annotations."""

    image_id: str
    part: str
    file_name: str
    height: int
    width: int
    regions: list[Region]

    @property
    def classes(self) -> set[int]:
        """Ids of the classes that have an object of their own here, not just a crowd."""
        return {region.class_id for region in self.regions if not region.crowd}


class Layer(NamedTuple):
    """A region as bool [H, W]."""

    class_id: int
    crowd: bool
    mask: np.ndarray


def layers(picture: Picture) -> list[Layer]:
    """A picture's regions in the order of painting: crowds, then objects, the largest first.

    COCO says of no two objects which one is in front. Where they overlap the smaller one is nearly
    always the one in front (a cup on a table, a tie on a person), and would vanish otherwise.
    """
    found = []
    for region in picture.regions:
        try:
            mask = rasterize.region(region.segmentation, picture.height, picture.width)
        except ValueError as error:
            raise ValueError(f"annotation of {picture.part}/{picture.file_name}: {error}") from None
        found.append(Layer(region.class_id, region.crowd, mask))
    return sorted(found, key=lambda layer: (not layer.crowd, -np.count_nonzero(layer.mask)))


def paint(found: list[Layer], height: int, width: int, classes: Collection[int]) -> np.ndarray:
    """The label map of some classes: their ids; 255 in their crowds; every other class is 0.

    Objects of other classes still cover what lies behind them.

    Returns:
      uint8 [height, width].
    """
    label = np.zeros((height, width), np.uint8)
    for class_id, crowd, mask in found:
        if class_id in classes:
            label[mask] = segmentation.VOID if crowd else class_id
        elif not crowd:
            label[mask] = 0
    return label


class Coco(NamedTuple):
    """COCO's three parts: train2017, val2017, annotations."""

    parts: dict[str, archives.Files]

    def pictures(self, part: str, allow_missing: bool, report: list[str]) -> list[Picture]:
        """The images that a part's annotation file lists, by file name.

        Args:
          part: 'train2017' or 'val2017'.
          allow_missing: leave out listed images that have no file, and say so in `report`.
          report: gets a line for whatever is odd.

        Raises:
          FileNotFoundError: the annotation file, or listed images, are missing.
          ValueError: the annotation file is not COCO's.
        """
        name = f"instances_{part}.json"
        place = f"{self.parts['annotations'].root}/{name}"
        if name not in self.parts["annotations"].names:
            raise FileNotFoundError(f"there is no {place}; it comes with annotations_trainval2017")
        try:
            content = json.loads(self.parts["annotations"].read(name))
            listed = _listed(content, part)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{place} is not an instance file of COCO: {error!r}") from None
        there = set(self.parts[part].names)
        missing = [picture.file_name for picture in listed if picture.file_name not in there]
        if missing:
            what = (
                f"{len(missing)} of {len(listed)} images in {place} have no file in "
                f"{self.parts[part].root} (first: {', '.join(missing[:3])})"
            )
            if not allow_missing:
                raise FileNotFoundError(f"{what}; add them, or --option allow_missing=true")
            report.append(f"{what}: left out")
        return [picture for picture in listed if picture.file_name in there]

    def image(self, picture: Picture) -> io.BytesIO:
        """An image's file, after a look at whether it is whole and as large as listed.

        Raises:
          ValueError: it is not.
        """
        data = io.BytesIO(self.parts[picture.part].read(picture.file_name))
        name = f"{picture.part}/{picture.file_name}"
        try:
            with Image.open(data) as image:
                size = (image.height, image.width)
                image.draft(None, (1, 1))  # reads every byte, but decodes every 8th pixel only
                image.load()
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{name} is not a whole image: {error}") from None
        if size != (picture.height, picture.width):
            raise ValueError(
                f"{name} is {size[0]} x {size[1]} (height x width), but its annotations say "
                f"{picture.height} x {picture.width}; fetch the archive again"
            )
        data.seek(0)
        return data


def _listed(content: dict, part: str) -> list[Picture]:
    class_of = {}
    for category in content["categories"]:
        if category["name"] not in CLASS_NAMES:
            raise ValueError(f"its category {category['name']!r} is none of COCO's 80")
        class_of[category["id"]] = CLASS_NAMES.index(category["name"]) + 1
    pictures = {}
    for image in sorted(content["images"], key=lambda image: image["file_name"]):
        name = image["file_name"]
        pictures[image["id"]] = Picture(
            Path(name).stem, part, name, image["height"], image["width"], []
        )
    for annotation in content["annotations"]:
        class_id, crowd = class_of[annotation["category_id"]], bool(annotation["iscrowd"])
        region = Region(class_id, crowd, annotation["segmentation"])
        pictures[annotation["image_id"]].regions.append(region)
    return list(pictures.values())


def find(dl_manager) -> Coco:
    """Finds COCO in the manual folder, or downloads it; archives are read without unpacking.

    Raises:
      FileNotFoundError: the manual folder lacks a part.
      ValueError: the download failed, or an archive is damaged or dishonest.
    """
    try:
        root = Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS: none was given, or it is empty
        places = downloads.fetch(dl_manager, {Path(url).name: (url,) for url in URLS.values()})
        return Coco({part: _archive(places[Path(url).name], part) for part, url in URLS.items()})
    found = {}
    for part, url in URLS.items():
        archive = root / Path(url).name
        if (root / part).is_dir():
            found[part] = archives.folder_files(root / part)
        elif archive.is_file():
            found[part] = _archive(archive, part)
        else:
            raise FileNotFoundError(
                f"{root} has neither a folder {part} nor {archive.name}; point --manual_dir at "
                "COCO 2017, or leave it out to download"
            )
    return Coco(found)


def _archive(path: Path, part: str) -> archives.Files:
    """The files of an archive below the folder that it is named after."""
    files = archives.zip_files(path, MAX_JSON_BYTES)
    names = [n.removeprefix(f"{part}/") for n in files.names if n.startswith(f"{part}/")]
    return archives.Files(str(path), tuple(names), lambda name: files.read(f"{part}/{name}"))
