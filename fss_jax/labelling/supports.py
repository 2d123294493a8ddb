"""Finds a person's labelled examples on disk: folders of pairs, labelme files, COCO files."""

import json
from pathlib import Path

import numpy as np

from data_builders import pairs
from fss_jax.labelling import annotations

Supports = dict[str, tuple[list[Path], list[Path | np.ndarray]]]

LAYOUTS = (
    "image/x.jpg with label/x.png, x.jpg beside x.png, x.png beside x_mask.png, one such folder per "
    "class, labelme's x.json, or a COCO file"
)


def read(place: Path) -> Supports:
    """Class names and their (images, masks), as `Segmenter.set_support` takes them.

    A folder of pairs is one class, named as the folder; pictures without a mask are no support.

    Args:
      place: a folder of one of `LAYOUTS`, or a COCO or labelme file.

    Raises:
      FileNotFoundError: there is no such place, or no image that an annotation names.
      ValueError: nothing labelled there; a file that is neither labelme's nor COCO's.
    """
    if not place.exists():
        raise FileNotFoundError(f"no support at {place}; expected {LAYOUTS}")
    files = [place] if place.is_file() else sorted(place.glob("*.json"))
    if files:
        found: Supports = {}
        for path in files:
            for folder, image in _annotated(path):
                for name, mask in image.masks.items():
                    if mask.any():
                        images, masks = found.setdefault(name, ([], []))
                        images.append(_image(path, folder, image.file_name))
                        masks.append(mask)
    else:
        folders = [place, *(path for path in sorted(place.iterdir()) if path.is_dir())]
        found = {folder.resolve().name: _pairs(folder) for folder in folders}
        found = {name: both for name, both in found.items() if both[0]}
    if not found:
        raise ValueError(f"{place} has no image with its mask; expected {LAYOUTS}")
    return found


def _pairs(folder: Path) -> tuple[list[Path], list[Path]]:
    images, masks = pairs.find(folder)
    both = sorted(images.keys() & masks.keys())
    return [images[name] for name in both], [masks[name] for name in both]


def _annotated(path: Path):
    """(folder that image names start from, image) of an annotation file."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if isinstance(content, dict) and "shapes" in content:
        return [(path.parent, annotations.read_labelme(path))]
    if isinstance(content, dict) and "annotations" in content:
        return [(path.parent, image) for image in annotations.read_coco(path)]
    raise ValueError(f"{path} is neither a labelme nor a COCO file; move it out of the support")


def _image(source: Path, folder: Path, name: str) -> Path:
    """The image that an annotation means: beside it, or in a folder of images there."""
    spots = [folder / name, folder / Path(name).name]
    spots += [folder / kind / Path(name).name for kind in pairs.IMAGE_FOLDERS]
    for path in spots:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{source} names the image {name}, which is not at {spots[0]}")
