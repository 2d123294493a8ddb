"""Averages of features over what a support annotation marks.

A support mask is 1 on the object and 0 on the background. Sparse annotation (a few clicks, scribbles)
leaves most pixels undecided: they are -1 and belong to neither.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def split(
    mask: Float[Array, "*b h w"],
) -> tuple[Float[Array, "*b h w"], Float[Array, "*b h w"]]:
    """(object, background): how much each pixel belongs to either, 0 to 1."""
    return jnp.clip(mask, 0.0, 1.0), jnp.where(mask < 0, 0.0, jnp.clip(1.0 - mask, 0.0, 1.0))


def masked_average(
    features: Float[Array, "*b h w c"],
    annotation: Float[Array, "*b height width"],
    rows: np.ndarray,
    cols: np.ndarray,
    epsilon: float,
) -> Float[Array, "*b c"]:
    """The mean of the interpolated features over the annotated pixels; 0 where nothing is annotated.

    The features are not stretched to the annotation's size: the annotation comes down to theirs by
    the transposed interpolation, which gives the same mean without the large map.

    Args:
      features: a coarse map.
      annotation: weight of each pixel.
      rows: [height, h] interpolation weights from the features' rows to the pixels'.
      cols: [width, w], likewise.
      epsilon: added to the annotated area, in pixels (as far as the interpolation reaches them).
    """
    rows, cols = jnp.asarray(rows, jnp.float32), jnp.asarray(cols, jnp.float32)
    weight = jnp.einsum("...yx,yi,xj->...ij", annotation.astype(jnp.float32), rows, cols)
    total = jnp.einsum("...ijc,...ij->...c", features.astype(jnp.float32), weight)
    return total / (weight.sum((-1, -2)) + epsilon)[..., None]
