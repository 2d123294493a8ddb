"""Reads anybody's images and masks: files, Pillow pictures or arrays, of any mode and size."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from data_builders import masks, pictures
from data_builders.masks import Choice
from data_builders.pictures import MAX_PIXELS

Source = str | Path | Image.Image | np.ndarray


def read_image(
    source: Source, *, max_pixels: int = MAX_PIXELS, name: str = ""
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image as RGB, upright as its EXIF says; what is transparent becomes white.

    Args:
      source: a path, a Pillow picture, or an array [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] of
        bool, integers (0..255 or 0..65535) or floats (0..1 or 0..255), upright.
      max_pixels: larger files are refused before they are decoded.
      name: what messages call it; by default its path.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no picture, damaged, cut short or too large; or an array of another shape or range.
    """
    told = name or (str(source) if isinstance(source, str | Path) else "the picture")
    return pictures.to_rgb(_picture(source, max_pixels, name), told)


def read_mask(
    source: Source, *, max_pixels: int = MAX_PIXELS, name: str = "", choice: Choice = masks.NONE
) -> Bool[np.ndarray, "h w"]:
    """Reads a binary mask in any encoding; what is undecided is not the object.

    Args and errors as for `read_annotation`. An empty mask is no error here.
    """
    return read_annotation(source, max_pixels=max_pixels, name=name, choice=choice) == 1


def read_annotation(
    source: Source, *, max_pixels: int = MAX_PIXELS, name: str = "", choice: Choice = masks.NONE
) -> UInt8[np.ndarray, "h w"]:
    """Reads a mask that may leave pixels undecided, as clicks and scribbles do.

    `data_builders.masks` says how. Undecided are the void pixels of a label map (values 0, 1 and
    255 only, as in VOC), and negative numbers in an array.

    Args and errors as for `read_image`; in addition
      choice: what a person says of masks with several readings.

    Raises:
      data_builders.masks.Unclear: a mask with several readings and no choice, or a photograph.

    Returns:
      1 object, 0 background, 255 undecided.
    """
    return read_reading(source, max_pixels=max_pixels, name=name, choice=choice).label


def read_reading(
    source: Source, *, max_pixels: int = MAX_PIXELS, name: str = "", choice: Choice = masks.NONE
) -> masks.Reading:
    """`read_annotation` with what was taken for granted."""
    if not isinstance(source, np.ndarray):
        return masks.read(source, name, max_pixels, choice)
    name = name or "the mask"
    array = source[..., 0] if source.ndim == 3 and source.shape[-1] == 1 else source
    if array.ndim != 2 or array.size == 0:
        return masks.decide(masks.plane(_picture(source, max_pixels, name)), name, choice)
    if array.dtype.kind in "if":
        array = np.where(array < 0, -1, array)
    return masks.decide(
        masks.deep(array.astype(np.uint8) if array.dtype == bool else array, name), name, choice
    )


def _picture(source: Source, max_pixels: int, name: str) -> Image.Image:
    if not isinstance(source, np.ndarray):
        return pictures.open_picture(source, name, max_pixels)
    array = source[..., 0] if source.ndim == 3 and source.shape[-1] == 1 else source
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(
            f"{name or 'an array'} has the shape {source.shape}; expected [h, w], or [h, w, 3 or 4]"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    return Image.fromarray(pictures.to_uint8(array))
