"""FCN-32s geometry (Long et al. 2015) and dilated forms: where a cell of features lies on an image.

A fully convolutional network turns an image into a coarse map. Its score is upsampled bilinearly so
that each cell's score lands on the middle of what the cell sees.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fss_jax.methods.layers.masked_pooling import split

SURE = 1e-6  # probabilities are kept this far from 0 and 1


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How features are laid over an image.

    Attributes:
      stride: pixels per cell.
      pad: zero padding of the first convolution; None: the backbone's own.
      clamp: whether the outermost scores continue to the border; else they fade to zero, as Caffe's
        deconvolution leaves them.
      probabilities: whether a score passes the sigmoid before it is upsampled, as OSLSM's Equation 2
        orders it; its release upsamples scores. The two do not commute.
    """

    stride: int
    pad: int | None = None
    clamp: bool = False
    probabilities: bool = False


GEOMETRIES = {
    # With VGG-16 the image starts at pixel 40 of the deconvolution's output (protocols.md A.7).
    "release": Geometry(stride=32, pad=121),
    # FCN-32s, which OSLSM 4.2 builds on: pixel 19.
    "paper": Geometry(stride=32, pad=100),
    "paper_order": Geometry(stride=32, pad=100, probabilities=True),
    # OSLSM 7 names a dilated FCN of stride 8 without its padding. Ours keeps the map's size: cell
    # i lies over pixels 8 i ... 8 i + 7. Stride 4 is for small images.
    "dilated8": Geometry(stride=8, clamp=True),
    "dilated4": Geometry(stride=4, clamp=True),
    # Cells over the whole image: cell i's middle is pixel 16 i + 8.
    "squeezenet": Geometry(stride=16, pad=9, clamp=True),
}
COVERING = (
    "covering"  # any backbone's own cells over the whole image, as if it were cut into squares
)


def geometry(name: str, stride: int = 32) -> Geometry:
    """The geometry of this name, for a backbone of so many pixels per cell.

    Raises:
      ValueError: an unknown name.
    """
    if name == COVERING:
        return Geometry(stride, clamp=True)
    if name not in GEOMETRIES:
        raise ValueError(f"geometry {name!r}: choose one of {', '.join((*GEOMETRIES, COVERING))}")
    return GEOMETRIES[name]


def interpolation(size: int, cells: int, layout: Geometry, first_center: float) -> np.ndarray:
    """[size, cells]: the weight of each cell in each pixel of one axis.

    The kernel of 64 taps at stride 32, w(x) = 1 - |x - 31.5| / 32 (protocols.md A.7), seen from the
    pixel: a tent of one stride to each side of the cell's center.
    """
    center = first_center + layout.stride * np.arange(cells)
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(size)[:, None] - center) / layout.stride)
    total = weight.sum(1, keepdims=True)
    if not layout.clamp:
        return weight
    if not total.all():
        raise ValueError(
            f"{cells} cells of {layout.stride} pixels do not reach over {size} pixels: this geometry "
            "needs a backbone with more poolings than its stride"
        )
    return weight / total


def upsample(
    score: Float[Array, "*b cells_h cells_w"],
    layout: Geometry,
    first_center: float,
    size: tuple[int, int],
) -> Float[Array, "*b h w"]:
    """Brings a score map to the image's size.

    The frozen bilinear deconvolution and its crop in one: the kernel is separable, so they are a
    product with a constant matrix from each side.

    Args:
      score: one number per cell.
      first_center: where the middle of the first cell lies, in pixels from the first pixel, in both
        axes (a backbone's `first_center`).
      size: height and width of the image in pixels.
    """
    rows = interpolation(size[0], score.shape[-2], layout, first_center)
    cols = interpolation(size[1], score.shape[-1], layout, first_center)
    rows, cols = jnp.asarray(rows, score.dtype), jnp.asarray(cols, score.dtype)
    if layout.probabilities:
        score = jax.nn.sigmoid(score)
    score = jnp.einsum("yi,...ij,xj->...yx", rows, score, cols, precision=lax.Precision.HIGHEST)
    if not layout.probabilities:
        return score
    score = jnp.clip(score, SURE, 1.0 - SURE)
    return jnp.log(score) - jnp.log1p(-score)  # back to a logit: positive where over one half


def membership(size: int, cells: int, layout: Geometry, first_center: float) -> np.ndarray:
    """[cells, size]: 1 where a pixel lies within half a stride of a cell's center, else 0; one axis."""
    cell = np.floor((np.arange(size) - first_center) / layout.stride + 0.5)
    return (cell[None, :] == np.arange(cells)[:, None]).astype(np.float32)


def cell_labels(
    mask: Float[Array, "*b h w"],
    cells: tuple[int, int],
    layout: Geometry,
    first_center: float,
) -> Int[Array, "*b rows cols"]:
    """The label of each cell: that of most pixels in its square (protocols.md A.12).

    Args:
      mask: 1 object, 0 background, negative: undecided.
      cells: size of the feature map.
      first_center: where the middle of the first cell lies, in pixels.

    Returns:
      1 object, 0 background (also where they are even), -1 a cell without a decided pixel, as in
      the padding around the image.
    """
    rows = membership(mask.shape[-2], cells[0], layout, first_center)
    cols = membership(mask.shape[-1], cells[1], layout, first_center)
    inside, outside = (
        jnp.einsum("iy,...yx,jx->...ij", rows, part.astype(jnp.float32), cols)
        for part in split(mask)
    )
    return jnp.where(inside + outside > 0, inside > outside, -1)
