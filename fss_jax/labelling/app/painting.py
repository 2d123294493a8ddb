"""What is painted in the page's editors, as masks."""

import numpy as np
from PIL import Image

from fss_jax.data.imaging import VOID
from fss_jax.reports import drawing

SIDE = 800  # pixels that a picture is painted at
OBJECT, NOTHING = drawing.PREDICTION_COLOR, (100, 143, 255)  # what the brush adds, and takes away


def canvas(rgb: np.ndarray, mask: np.ndarray | None = None) -> dict:
    """An editor's value: a picture at most SIDE pixels wide and high, with its mask drawn into it.

    What is painted over it is a change of that mask (see `painted`).
    """
    small = Image.fromarray(rgb)
    small.thumbnail((SIDE, SIDE))
    shown = np.asarray(small)
    if mask is not None:
        shrunk = Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST)
        shown = drawing.overlay(shown, np.asarray(shrunk), OBJECT)
    return {"background": shown, "layers": [], "composite": None}


def strokes(drawn: dict | None, shape: tuple[int, int]) -> np.ndarray:
    """What an editor's strokes decide, uint8 [h, w]: 1 object, 0 not, 255 wherever there is none."""
    nowhere, everywhere = (painted(drawn, np.full(shape, start)) for start in (False, True))
    return np.where(nowhere == everywhere, nowhere, VOID).astype(np.uint8)


def painted(drawn: dict | None, mask: np.ndarray) -> np.ndarray:
    """A mask, bool [h, w], as changed by the strokes of an editor: OBJECT adds, NOTHING takes away."""
    mask = mask.copy()
    for layer in (drawn or {}).get("layers", []):
        large = Image.fromarray(layer).resize(mask.shape[::-1], Image.Resampling.NEAREST)
        red, _, blue, alpha = np.moveaxis(np.asarray(large).astype(int), -1, 0)
        stroke = alpha > 127
        mask = np.where(stroke, red > blue, mask)
    return mask
