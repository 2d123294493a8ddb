"""Dense features of a fully convolutional network, and what OSLSM's comparison methods share of it.

1-NN, the linear classifiers, fine-tuning and the Siamese network (OSLSM 6) label the cells of a
query by what they learn from the cells of the support. They differ only in how.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fss_jax.data import imaging
from fss_jax.methods.backbones import first_center, vgg
from fss_jax.methods.contract import Method
from fss_jax.methods.contract.branches import build_backbone, layout
from fss_jax.methods.layers import cells


class DenseMethod(Method):
    """The fields and the network of a method on dense fc7 features.

    Attributes:
      backbone: a name of backbones.table.
      geometry: how the features lie over an image, support and query alike; see cells.GEOMETRIES.
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

    takes_undecided = True
    toy = {"width": 1 / 32, "hidden": 256}

    def setup(self):
        self.layout = layout(self)
        self.features = self.network()

    @property
    def first_center(self) -> float:
        """Where the middle of the first cell lies, in pixels."""
        return first_center(self.features, self.layout.stride)

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
        label = cells.cell_labels(mask, x.shape[2:4], self.layout, self.first_center)
        return x.reshape(x.shape[0], -1, x.shape[-1]), label.reshape(x.shape[0], -1)

    def upsample(
        self, score: Float[Array, "b q rows cols"], image: Float[Array, "b q h w 3"]
    ) -> Float[Array, "b q h w"]:
        """A score per cell, brought to the size of the image that the cells are of."""
        return cells.upsample(score, self.layout, self.first_center, image.shape[2:4])
