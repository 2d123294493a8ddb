"""Images as a frozen backbone's features: what can stand where a method takes images."""

from collections.abc import Mapping
from typing import Any

import flax.struct
from jaxtyping import Array


@flax.struct.dataclass
class Encoded:
    """The features of images [*b].

    A method that has `encoded` takes it in place of images, so that a frozen backbone computes
    each image once (fss_jax.data.feature_bank).

    Attributes:
      maps: [*b, rows, cols, c] each, by the method's names.
      size: height and width of the images in pixels.
    """

    maps: Mapping[str, Any]
    size: tuple[int, int] = flax.struct.field(pytree_node=False)


def size_of(images: Array | Encoded) -> tuple[int, int]:
    """Height and width of images [*b, h, w, 3], or of those that features are of."""
    return images.size if isinstance(images, Encoded) else images.shape[-3:-1]
