"""What becomes of an image's pixels, in plain numpy, SciPy and fractions; float64."""

from fractions import Fraction

import numpy as np
from scipy import ndimage


def resize(image, out, fill):
    """scikit-image's `resize` to a square: order 1, no anti-aliasing, constant border `fill`."""
    rows, cols = ((np.arange(out) + 0.5) * side / out - 0.5 for side in image.shape[:2])
    where = np.meshgrid(rows, cols, indexing="ij")
    return np.stack(
        [
            ndimage.map_coordinates(
                image[..., c].astype(float), where, order=1, mode="grid-constant", cval=fill[c]
            )
            for c in range(3)
        ],
        -1,
    )


def nearest(side, out):
    """The pixels of a row of `side` that hold the centers of `out` pixels stretched over it."""
    return [int(Fraction(2 * i + 1, 2) * side / out) for i in range(out)]


def resize_label(label, out):
    """`resize` for a label map."""
    return label[np.ix_(nearest(label.shape[0], out), nearest(label.shape[1], out))]


def stretch(values, shape):
    """A map over a whole image, bilinear to the image's (height, width), edges repeated."""
    rows, cols = (
        (np.arange(side) + 0.5) * length / side - 0.5
        for side, length in zip(shape, values.shape, strict=True)
    )
    where = np.meshgrid(rows, cols, indexing="ij")
    return ndimage.map_coordinates(values.astype(float), where, order=1, mode="nearest")
