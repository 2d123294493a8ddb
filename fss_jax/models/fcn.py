"""FCN-32s geometry (Long et al. 2015) and its dilated forms: where a cell of features lies.

A fully convolutional network turns an image into a coarse map; its score is upsampled bilinearly and
cropped so that every cell's score lands on the middle of what the cell sees.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How features are laid over an image.

    Attributes:
      stride: pixels per cell.
      pad: zero padding of the first convolution.
      crop: where the image starts in the upsampled score, pixels.
      clamp: whether the border's scores continue outwards; else they fade to zero, as a
        deconvolution leaves them.
    """

    stride: int
    pad: int
    crop: int
    clamp: bool = False


GEOMETRIES = {
    "release": Geometry(stride=32, pad=121, crop=40),  # protocols.md A.7
    "paper": Geometry(stride=32, pad=100, crop=19),  # FCN-32s, which OSLSM 4.2 builds on
    # OSLSM 4.4 names a dilated FCN of stride 8 without its padding. Ours keeps the map's size, so
    # cell i lies over pixels 8i ... 8i + 7. Stride 4 is for small images.
    "dilated8": Geometry(stride=8, pad=1, crop=4, clamp=True),
    "dilated4": Geometry(stride=4, pad=1, crop=2, clamp=True),
}


def geometry(name: str) -> Geometry:
    """The geometry of this name; ValueError for an unknown one."""
    if name not in GEOMETRIES:
        raise ValueError(f"geometry {name!r}: choose one of {', '.join(GEOMETRIES)}")
    return GEOMETRIES[name]


def _deconvolution_matrix(size: int, cells: int, layout: Geometry) -> np.ndarray:
    """[size, cells]: the weight of each cell in each pixel of one axis.

    Caffe's deconvolution with a bilinear kernel of 2 * stride taps, then the crop:
    w(x) = 1 - |x - (stride - 1/2)| / stride (for stride 32: 1 - |x - 31.5| / 32).
    """
    s = layout.stride
    position = np.arange(size)[:, None] + layout.crop - s * np.arange(cells)[None, :]
    weight = np.maximum(0.0, 1.0 - np.abs(position - (s - 0.5)) / s)
    if not layout.clamp:
        return weight
    total = weight.sum(1, keepdims=True)
    return weight / total


def upsample(
    score: Float[Array, "*b cells_h cells_w"], layout: Geometry, size: tuple[int, int]
) -> Float[Array, "*b h w"]:
    """Brings a score map to the image's size (height, width) in pixels.

    The bilinear kernel is separable, so the frozen deconvolution and its crop are a product with a
    constant matrix from each side.
    """
    rows = jnp.asarray(_deconvolution_matrix(size[0], score.shape[-2], layout), score.dtype)
    cols = jnp.asarray(_deconvolution_matrix(size[1], score.shape[-1], layout), score.dtype)
    return jnp.einsum("yi,...ij,xj->...yx", rows, score, cols, precision=lax.Precision.HIGHEST)
