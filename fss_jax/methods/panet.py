"""PANet, prototype alignment (Wang et al., ICCV 2019): a class is a mean feature, a pixel its nearest.

Prototypes are means of the support's features over the object and over the background. A pixel's
score for each is its cosine times 20; a softmax over prototypes decides. In training the roles are
swapped as well: prototypes made from the query, as predicted, must segment the support (section 3.3).

The text and the released code agree but for what the paper leaves open: VGG-16 with 3x3 pooling,
the fourth at stride 1, the fifth block dilated by 2 and without its last ReLU.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.data.encoded import Encoded, size_of
from fss_jax.methods import backbones
from fss_jax.methods.backbones.vgg import VGG16
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import (
    Conv,
    interpolation,
    masked_average,
    max_pool,
    resize,
    scaled,
    split,
    unit,
)

SCALE = 20.0  # PANet 3.2
EPSILON = 1e-5


class Encoder(nn.Module):
    """VGG-16 at stride 8 as PANet's release changes it; names are VGG's (conv1_1 ... conv5_3)."""

    width: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b oh ow d"]:
        for block, (convs, channels) in enumerate(VGG16, 1):
            for index in range(1, convs + 1):
                x = Conv(
                    scaled(channels, self.width),
                    dilation=2 if block == 5 else 1,
                    kernel_init=nn.initializers.he_normal(),
                    dtype=self.dtype,
                    name=f"conv{block}_{index}",
                )(x)
                if (block, index) != (5, 3):
                    x = nn.relu(x)
            if block < 5:
                x = max_pool(x, 3, 1 if block == 4 else 2, padding=1)
        return x


class PANet(Method):
    """PANet for one class against the background, or natively for several.

    Sows the loss 'alignment' in training.

    Attributes:
      backbone: 'vgg16' as published, or another whose cells cover an image: 'squeezenet1_0' is light
        enough for a CPU (its last ReLU stays).
      width: channel multiplier.
      projection: channels of a 1x1 convolution behind the backbone, which is then all that learns; 0:
        none, the backbone learns, as published.
      align: weight of the alignment loss; the paper's is 1. 0 leaves it out.
      preprocessing: a name in imaging.PREPROCESSING.
      dtype: compute type of the encoder; prototypes and logits are float32.
      axis_name: pmap axis of the backbone's BatchNorm, if it has any.

    Raises:
      ValueError: an unknown backbone.
    """

    backbone: str = "vgg16"
    width: float = 1.0
    projection: int = 0
    align: float = 1.0
    preprocessing: str = "torchvision"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    takes_undecided = True
    toy = {"width": 1 / 32}

    def setup(self):
        if self.backbone == "vgg16":
            self.encoder = Encoder(self.width, self.dtype)
        else:
            backbone = backbones.get(self.backbone, "covering")
            self.encoder = backbone.covering(
                width=self.width, dtype=self.dtype, axis_name=self.axis_name
            )
        if self.projection:
            self.project = Conv(
                self.projection,
                1,
                use_bias=False,
                kernel_init=nn.initializers.orthogonal(),
                dtype=self.dtype,
            )

    @property
    def frozen(self) -> tuple[str, ...]:
        """All but the projection, if there is one."""
        return ("encoder",) if self.projection else ()

    def encoded(self, image: Float[Array, "*b h w 3"]) -> Encoded:
        """The backbone's last map; of VGG-16 without its last ReLU."""
        x = self.encoder(imaging.normalize(image, self.preprocessing))
        x = (x if self.backbone == "vgg16" else x[0]).astype(jnp.float32)
        maps = {"last": jax.lax.stop_gradient(x) if self.projection else x}
        return Encoded(maps, image.shape[-3:-1])

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> Float[Array, "b 2 c"]:
        """The prototypes of the background and of the object.

        Args:
          support_image: RGB in 0..255, or its features.
          support_mask: 1 object, 0 background, -1 undecided (sparse annotation).
        """
        return self.condition_ways(_one_way(support_image), support_mask[:, None], train=train)

    def segment(
        self,
        task: Float[Array, "b 2 c"],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits of the object: its score minus the background's."""
        scores = self.segment_ways(task, query_image, train=train)
        return scores[:, :, 1] - scores[:, :, 0]

    def condition_ways(
        self,
        support_image: Float[Array, "b n k h w 3"] | Encoded,
        support_mask: Float[Array, "b n k h w"],
        *,
        train: bool = False,
    ) -> Float[Array, "b ways c"]:
        """Prototypes of n classes with k shots each: the background's, then each class's.

        Args:
          support_mask: of each image's own class. Objects of the episode's other classes should be
            -1, or they count as background.
        """
        return prototypes(self._encode(support_image), support_mask)

    def segment_ways(
        self,
        task: Float[Array, "b ways c"],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q ways h w"]:
        """A score for each prototype and pixel; softmax over `ways` gives probabilities."""
        return _stretch(similarity(self._encode(query_image), task), size_of(query_image))

    def __call__(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        query_image: Float[Array, "b q H W 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q H W"]:
        scores = self.call_ways(
            _one_way(support_image), support_mask[:, None], query_image, train=train
        )
        return scores[:, :, 1] - scores[:, :, 0]

    def call_ways(
        self,
        support_image: Float[Array, "b n k h w 3"] | Encoded,
        support_mask: Float[Array, "b n k h w"],
        query_image: Float[Array, "b q H W 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q ways H W"]:
        """`segment_ways(condition_ways(...), ...)`, and the alignment loss in training."""
        support, query = self._encode(support_image), self._encode(query_image)
        scores = similarity(query, prototypes(support, support_mask))
        if train and self.align:
            loss = alignment_loss(support, support_mask, query, scores)
            self.sow("losses", "alignment", self.align * loss)
        return _stretch(scores, size_of(query_image))

    def _encode(self, image: Array | Encoded) -> Array:
        encoded = image if isinstance(image, Encoded) else self.encoded(image)
        x = encoded.maps["last"]
        return (self.project(x) if self.projection else x).astype(jnp.float32)


def prototypes(
    features: Float[Array, "b n k h w c"], mask: Float[Array, "b n k height width"]
) -> Float[Array, "b ways c"]:
    """Means over each class's object, averaged over shots; first the background's over all images."""
    rows = interpolation(features.shape[-3], mask.shape[-2], align_corners=False)
    cols = interpolation(features.shape[-2], mask.shape[-1], align_corners=False)
    foreground, background = (
        masked_average(features, annotation, rows, cols, EPSILON) for annotation in split(mask)
    )
    return jnp.concatenate([background.mean((1, 2))[:, None], foreground.mean(2)], 1)


def similarity(
    features: Float[Array, "b q h w c"], task: Float[Array, "b ways c"]
) -> Float[Array, "b q ways h w"]:
    """The cosine of each cell's feature with each prototype, times 20."""
    return SCALE * jnp.einsum("bqhwc,bmc->bqmhw", unit(features), unit(task))


def alignment_loss(
    support: Float[Array, "b n k h w c"],
    mask: Float[Array, "b n k height width"],
    query: Float[Array, "b q i j c"],
    scores: Float[Array, "b q ways i j"],
) -> Float[Array, ""]:
    """Cross-entropy of the support, segmented by prototypes of the query as predicted (PANet 3.3).

    Each shot is segmented with its own class against the background; undecided pixels do not count;
    a class that no cell of the query is predicted to be gives no loss.
    """
    predicted = jax.nn.one_hot(scores.argmax(2), scores.shape[2], axis=2)
    area = predicted.sum((1, 3, 4))
    swapped = jnp.einsum("bqmij,bqijc->bmc", predicted, query) / (area + EPSILON)[..., None]
    cosine = jnp.einsum("bnkhwc,bmc->bmnkhw", unit(support), unit(swapped))
    own = jnp.einsum("bnnkhw->bnkhw", cosine[:, 1:])
    logits = _stretch(SCALE * (own - cosine[:, 0]), mask.shape[-2:])
    foreground, background = split(mask)
    loss = foreground * jax.nn.softplus(-logits) + background * jax.nn.softplus(logits)
    counted = jnp.maximum((foreground + background).sum((-1, -2)), 1.0)
    present = (area[:, 1:] > 0)[..., None]
    return (present * loss.sum((-1, -2)) / counted).mean()


def _one_way(image: Array | Encoded) -> Array | Encoded:
    return jax.tree.map(lambda x: x[:, None], image)


def _stretch(score: Float[Array, "*b h w"], size: tuple[int, int]) -> Float[Array, "*b H W"]:
    return resize(score[..., None], size, align_corners=False)[..., 0]


METHOD = PANet
