"""Reads a binary mask however it was saved: 0/1 or 0/255, gray, color, palette or alpha.

The rule looks at values, never at file names or modes:
- with at most two values, one of them 0, the other one is the object (0/1, 0/255, 0/38 ...);
- with the values 1 and 255, and perhaps 0, 1 is the object and 255 is void (our own label maps);
- with more, edges are soft and the object is what reaches half of the range (128 of 255).
Colors count by their luminance, or by their strongest channel if they are not shades of gray.
"""

import numpy as np
from PIL import Image

from data_builders.pictures import MAX_PIXELS, Source, has_alpha, open_picture, to_uint8

HALF = 128
COLORFUL = 64  # channels further apart than this mean a color; soft edges of real masks reach 25
VOID = 255


def read_mask(source: Source, name: str = "", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a mask from a path, bytes or an open picture.

    Returns:
      bool [H, W], True on the object.

    Raises:
      FileNotFoundError, ValueError: as `pictures.open_picture`.
    """
    return binarize(values(open_picture(source, name, max_pixels)))


def binarize(mask: np.ndarray) -> np.ndarray:
    """Decides which pixels are the object, by the rule above.

    Args:
      mask: uint8 [H, W].

    Returns:
      bool [H, W].
    """
    found = _distinct(mask)
    if len(found) == 1 or (len(found) == 2 and found[0] == 0):
        return mask > 0
    if _is_label_map(found):
        return mask == 1
    return mask >= HALF


def undecided(mask: np.ndarray) -> np.ndarray:
    """The void pixels of a label map (values 1, 255 and perhaps 0); any other mask decides them all.

    Args:
      mask: uint8 [H, W].

    Returns:
      bool [H, W].
    """
    return (mask == VOID) & _is_label_map(_distinct(mask))


def is_soft(mask: np.ndarray) -> bool:
    """Whether a mask (uint8 [H, W]) has more than two values, so that a threshold decides."""
    return len(_distinct(mask)) > 2


def is_photograph(mask: np.ndarray) -> bool:
    """Whether what was saved as a mask is a photograph: over a fifth of it is neither dark nor light.

    Soft edges cover 1 to 4 % of the real masks at hand, middle tones most of a photograph.

    Args:
      mask: uint8 [H, W].
    """
    return is_soft(mask) and np.mean((mask > 32) & (mask < 223)) > 0.2


def values(picture: Image.Image) -> np.ndarray:
    """One value per pixel of a mask's picture, whatever its mode.

    An alpha channel says something only if it varies (in FSS-1000 it is 255 everywhere): then what
    is transparent is not the object. In a palette of colors black, else entry 0, is the background,
    and entry 255 is void.

    Returns:
      uint8 [H, W].
    """
    if picture.mode == "P" and not has_alpha(picture):
        return _palette_values(picture)
    if has_alpha(picture):
        rgba = np.asarray(picture.convert("RGBA"))
        color, alpha = _color_values(rgba[..., :3]), rgba[..., 3]
        if alpha.min() == alpha.max():
            return color
        painted = color[alpha > 0]
        if painted.min() == painted.max():
            return alpha
        return np.minimum(color, alpha)
    if picture.mode.startswith(("I", "F")):
        return to_uint8(np.asarray(picture))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    return _color_values(np.asarray(picture.convert("RGB")))


def _is_label_map(found) -> bool:
    return set(found) in ({1, VOID}, {0, 1, VOID})


def _distinct(mask: np.ndarray) -> np.ndarray:
    # Counting is faster than the sorting of np.unique.
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256))


def _color_values(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(rgb, -1, 0)
    strongest = np.maximum(np.maximum(red, green), blue)
    weakest = np.minimum(np.minimum(red, green), blue)
    if (strongest - weakest).max(initial=0) > COLORFUL:
        return strongest
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _palette_values(picture: Image.Image) -> np.ndarray:
    index = np.asarray(picture)
    used = np.unique(index)
    rgb = np.asarray(picture.convert("RGB"))
    if (rgb.max(-1) == rgb.min(-1)).all():
        return rgb[..., 0]
    black = (rgb == 0).all(-1)
    background = black if black.any() or 0 not in used else index == 0
    return np.where(background | (index == VOID), 0, 255).astype(np.uint8)
