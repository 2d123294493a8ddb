"""Dense features of a fully convolutional network, and what OSLSM's comparison methods share of it.

1-NN, the linear classifiers, fine-tuning and the Siamese network (OSLSM 6) label the cells of a
query by what they learn from the cells of the support. They differ only in how.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax.data import imaging
from fss_jax.methods.backbones import build_backbone, fcn, vgg
from fss_jax.methods.layers.masked_pooling import split


class DenseMethod(nn.Module):
    """The fields and the network of a method on dense fc7 features.

    Attributes:
      backbone: a key of backbones.BACKBONES.
      geometry: how the features lie over an image, support and query alike; see fcn.GEOMETRIES.
      blocks, norm: of the backbone vgg16 only; see vgg.VGG.
      width: channel multiplier, also of `hidden`.
      hidden: channels of fc6 and fc7; SqueezeNet, which has neither, has 512 features.
      fc6_size: window of fc6 in cells; 0: as in the classifier at 224 pixels.
      preprocessing: a key of imaging.PREPROCESSING.
      dropout: rate after fc6 and fc7 in training.
      dtype: compute type of the network; features, tasks and logits are float32.
      axis_name: pmap axis of BatchNorm in training.

    Raises:
      ValueError: an unknown name in a field.
    """

    backbone: str = "vgg16"
    geometry: str = "release"
    blocks: tuple[tuple[int, int], ...] = vgg.VGG16
    norm: str = "none"
    width: float = 1.0
    hidden: int = 4096
    fc6_size: int = 0
    preprocessing: str = "caffe"
    dropout: float = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def setup(self):
        self.layout = fcn.geometry(self.geometry)
        self.features = self.network()

    def network(self, **fields: Any) -> nn.Module:
        """The backbone as the fields describe it; `fields` change some of its own."""
        own = {"outputs": 0, "stride": self.layout.stride, "pad": self.layout.pad}
        return build_backbone(self, **own | fields)

    def encode(
        self, image: Float[Array, "b n h w 3"], *, train: bool = False
    ) -> Float[Array, "b n rows cols c"]:
        """The last features (fc7) of RGB images in 0..255, after the ReLU."""
        x, _ = self.features(imaging.normalize(image, self.preprocessing), train=train)
        return x.astype(jnp.float32)

    def encode_support(
        self,
        image: Float[Array, "b k h w 3"],
        mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b cells c"], Int[Array, "b cells"]]:
        """The support's cells of all shots in a row: their features, and labels by `cell_labels`."""
        x = self.encode(image, train=train)
        label = cell_labels(mask, x.shape[2:4], self.layout, self.features.first_center)
        return x.reshape(len(x), -1, x.shape[-1]), label.reshape(len(x), -1)

    def upsample(
        self, score: Float[Array, "b q rows cols"], image: Float[Array, "b q h w 3"]
    ) -> Float[Array, "b q h w"]:
        """A score per cell, brought to the size of the image that the cells are of."""
        return fcn.upsample(score, self.layout, self.features.first_center, image.shape[2:4])

    def __call__(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        query_image: Float[Array, "b q height width 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q height width"]:
        """`segment` under `condition`."""
        task = self.condition(support_image, support_mask, train=train)
        return self.segment(task, query_image, train=train)


def membership(size: int, cells: int, layout: fcn.Geometry, first_center: float) -> np.ndarray:
    """[cells, size]: 1 where a pixel lies within half a stride of a cell's center, else 0; one axis."""
    cell = np.floor((np.arange(size) - first_center) / layout.stride + 0.5)
    return (cell[None, :] == np.arange(cells)[:, None]).astype(np.float32)


def cell_labels(
    mask: Float[Array, "*b h w"],
    cells: tuple[int, int],
    layout: fcn.Geometry,
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
