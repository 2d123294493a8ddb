"""HSNet, hypercorrelation squeeze (Min et al., ICCV 2021): learn from correlations, not from features.

Cosines between all cells of a query and all cells of a support's object, from several layers of a
frozen backbone, are 4-D maps. Center-pivot 4-D convolutions shrink the support's two axes until a
2-D map of the query is left, coarse levels passing theirs to finer ones, and a decoder draws the mask
(section 4). With K shots each votes, and a pixel is object if half of the most votes anywhere say so
(section 4.4; the released code's rule).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.data.encoded import Encoded
from fss_jax.methods import backbones
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import Conv, resize, scaled

CHANNELS = (16, 64, 128)  # HSNet 4.2, of each block
GROUPS = 4  # of the normalization
EPSILON = 1e-5
# (kernel, stride over the support's axes) of each convolution, finest level first.
SQUEEZE = (
    ((5, 4), (5, 4), (3, 2)),
    ((5, 4), (3, 2), (3, 2)),
    ((3, 2), (3, 2), (3, 2)),
)
MIX = ((3, 1), (3, 1), (3, 1))


class CenterPivot(nn.Module):
    """A 4-D convolution of which only the taps at the middle of either pair of axes are kept.

    Attributes:
      features: output channels.
      kernel: taps along each axis.
      stride: over the support's axes.
      dtype: compute type.
    """

    features: int
    kernel: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i j c"]) -> Float[Array, "n h w i2 j2 d"]:
        shared = {"features": self.features, "kernel": self.kernel, "dtype": self.dtype}
        over_support = Conv(**shared, stride=self.stride, name="conv2")(x)
        kept = x[:, :, :, :: self.stride, :: self.stride]
        over_query = Conv(**shared, name="conv1")(kept.transpose(0, 3, 4, 1, 2, 5))
        return over_query.transpose(0, 3, 4, 1, 2, 5) + over_support


class Block(nn.Module):
    """Center-pivot convolutions, each with GroupNorm and a ReLU.

    Attributes:
      channels: of each convolution.
      form: (kernel, stride) of each.
      dtype: compute type.
    """

    channels: tuple[int, ...]
    form: tuple[tuple[int, int], ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i j c"]) -> Float[Array, "n h w i2 j2 d"]:
        for number, (channels, (kernel, stride)) in enumerate(
            zip(self.channels, self.form, strict=True)
        ):
            x = CenterPivot(channels, kernel, stride, self.dtype, name=f"conv{number}")(x)
            norm = nn.GroupNorm(
                GROUPS, epsilon=EPSILON, use_fast_variance=False, name=f"norm{number}"
            )
            x = nn.relu(norm(x))
        return x


class Learner(nn.Module):
    """From the correlations of all levels, finest first, to scores of background and object.

    Names are the release's: encoder_layer2, 3, 4, encoder_layer4to3, encoder_layer3to2, decoder.

    Attributes:
      width: channel multiplier.
      dtype: compute type.
    """

    width: float
    dtype: Any

    @nn.compact
    def __call__(self, levels: list[Float[Array, "n _h _w _i _j _c"]]) -> Float[Array, "n H W 2"]:
        channels = tuple(scaled(c, self.width) for c in CHANNELS)
        squeezed = [
            Block(channels, form, self.dtype, name=f"encoder_layer{number}")(x)
            for number, (x, form) in enumerate(zip(levels, SQUEEZE, strict=True), 2)
        ]
        x = squeezed.pop()
        for number in (3, 2):
            finer = squeezed.pop()
            if x.shape[3:5] != finer.shape[3:5]:
                raise ValueError(
                    f"support maps shrink to {x.shape[3:5]} and {finer.shape[3:5]} cells at two "
                    "levels: choose another size of image, such as 400 or 224 pixels"
                )
            x = _over_query(x, finer.shape[1:3]) + finer
            mix = (channels[-1],) * len(MIX)
            x = Block(mix, MIX, self.dtype, name=f"encoder_layer{number + 1}to{number}")(x)
        x = x.mean((3, 4))
        conv = {"kernel_init": nn.initializers.lecun_normal(), "dtype": self.dtype}
        x = nn.relu(Conv(channels[2], name="decoder1_0", **conv)(x))
        x = nn.relu(Conv(channels[1], name="decoder1_1", **conv)(x))
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)
        x = nn.relu(Conv(channels[1], name="decoder2_0", **conv)(x))
        return Conv(2, name="decoder2_1", **conv)(x)


class HSNet(Method):
    """Hypercorrelation squeeze network; see the module's text.

    Attributes:
      backbone: one that has `levels`: vgg16, resnet50 and resnet101 as published. It is never trained.
      width: channel multiplier of backbone and learner.
      preprocessing: a key of imaging.PREPROCESSING.
      dtype: compute type; correlations, norms and logits are float32.
      axis_name: pmap axis, for which there is no use: the backbone's statistics are frozen.

    Raises:
      ValueError: an unknown backbone; sizes at which the levels do not meet.
    """

    backbone: str = "vgg16"
    width: float = 1.0
    preprocessing: str = "torchvision"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    toy = {"width": 1 / 32}
    published_parameters = {"learner": 2_570_018}  # counted from the release

    def setup(self):
        backbone = backbones.get(self.backbone, "levels")
        self.level_maps = backbone.level_maps
        self.encoder = backbone.levels(width=self.width, dtype=self.dtype, axis_name=self.axis_name)
        self.learner = Learner(self.width, self.dtype)

    @property
    def frozen(self) -> tuple[str, ...]:
        return ("encoder",)

    def encoded(self, image: Float[Array, "b n h w 3"]) -> Encoded:
        """The maps of all levels, before their ReLU, without gradient."""
        _, maps = self.encoder(imaging.normalize(image, self.preprocessing))
        maps = {name: maps[name].astype(jnp.float32) for names in self.level_maps for name in names}
        return Encoded(jax.lax.stop_gradient(maps), image.shape[2:4])

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Float[Array, "b k _h _w _c"]]:
        """The support's maps where the object is, zero elsewhere.

        Args:
          support_image: RGB in 0..255, or its features.
          support_mask: 1 on the object, 0 elsewhere.
        """
        maps = self._seen(support_image).maps

        def masked(x):
            shown = resize(support_mask[..., None], x.shape[2:4], align_corners=True)
            return x.astype(jnp.float32) * shown

        return {name: masked(x) for name, x in maps.items()}

    def segment(
        self,
        task: dict[str, Float[Array, "b k _h _w _c"]],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits; with several shots, where more than one votes, the margin of the votes.

        In training several shots' logits are averaged: votes have no gradient.
        """
        query = self._seen(query_image)
        levels = [
            jnp.stack([correlation(query.maps[name], task[name]) for name in names], -1)
            for names in self.level_maps
        ]
        b, q, k = levels[0].shape[:3]
        scores = self.learner([x.reshape(-1, *x.shape[3:]) for x in levels]).astype(jnp.float32)
        logits = scores[..., 1:] - scores[..., :1]
        logits = resize(logits, query.size, align_corners=True)[..., 0]
        logits = logits.reshape(b, q, k, *query.size)
        if k == 1 or train:
            return logits.mean(2)
        return vote(logits)

    def _seen(self, image: Array | Encoded) -> Encoded:
        return image if isinstance(image, Encoded) else self.encoded(image)


def correlation(
    query: Float[Array, "b q h w c"], support: Float[Array, "b k i j c"]
) -> Float[Array, "b q k h w i j"]:
    """Cosines of all cells, none below zero (HSNet 4.1)."""
    query, support = (
        x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + EPSILON)
        for x in (query.astype(jnp.float32), support.astype(jnp.float32))
    )
    return nn.relu(jnp.einsum("bqhwc,bkijc->bqkhwij", query, support))


def vote(logits: Float[Array, "b q k h w"]) -> Float[Array, "b q h w"]:
    """Positive where at least half as many shots say object as anywhere in the image.

    Among pixels of equal votes the mean logit decides which is surer.
    """
    votes = (logits > 0).sum(2).astype(jnp.float32)
    most = jnp.maximum(votes.max((-1, -2), keepdims=True), 1.0)
    # Between half and the next share below lies 1 / (2 most) at least: both ends stay 1 / (4 k) away.
    shots = logits.shape[2]
    return 4.0 * (votes / most - 0.5 + 0.25 / shots) + 0.5 / shots * jnp.tanh(logits.mean(2))


def _over_query(
    x: Float[Array, "n h w i j c"], size: tuple[int, int]
) -> Float[Array, "n H W i j c"]:
    y = x.reshape(*x.shape[:3], -1)
    return resize(y, size, align_corners=True).reshape(x.shape[0], *size, *x.shape[3:])


METHOD = HSNet
