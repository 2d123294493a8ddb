"""SSP, self-support (Fan et al., ECCV 2022): a query's own sure pixels say best what the rest is.

The support's prototypes find sure pixels of the query, whose means are better prototypes for it; each
pixel gets a background prototype of its own, from the background that looks like it. Both are mixed
with the support's, and once more with what the second answer is sure of (section 3; the released
code's constants).

The release's ResNets have a stem of three convolutions, for which no weights are at hand: ours are
torchvision's. VGG-16 is not published.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fss_jax.data import imaging
from fss_jax.data.encoded import Encoded, size_of
from fss_jax.methods import backbones
from fss_jax.methods.contract import Method
from fss_jax.methods.layers import Conv, resize, split, unit

SCALE = 10.0  # of cosines, as logits
SURE_OBJECT, SURE_BACKGROUND = 0.7, 0.6  # SSP 3.3
LEAST = 12  # pixels that count as sure where none is
SHARPNESS = 2.0  # of the softmax over the background, SSP 3.4
EPSILON = 1e-5
SUPPORT_LOSS = 0.2  # SSP 3.5


class SSP(Method):
    """Self-support prototypes; see the module's text.

    Attributes:
      backbone: 'resnet50' as published; any that is `dense`, or whose cells cover an image.
      width: channel multiplier.
      projection: channels of a 1x1 convolution behind the backbone, which is then all that learns; 0:
        none, the backbone learns, as published.
      refine: whether the second answer is refined once more.
      preprocessing: a key of imaging.PREPROCESSING.
      dtype: compute type of the backbone; prototypes and logits are float32.
      axis_name: pmap axis, for which there is no use: the backbone's statistics are frozen.

    Raises:
      ValueError: an unknown backbone.
    """

    backbone: str = "resnet50"
    width: float = 1.0
    projection: int = 0
    refine: bool = True
    preprocessing: str = "torchvision"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    takes_undecided = True
    own_losses = {"ssp": "loss"}
    toy = {"width": 1 / 32}

    def setup(self):
        backbone = backbones.get(self.backbone, "dense", "covering")
        make = backbone.dense or backbone.covering
        self.encoder = make(width=self.width, dtype=self.dtype, axis_name=self.axis_name)
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

    def encoded(self, image: Float[Array, "b n h w 3"]) -> Encoded:
        """The backbone's last map, before its last ReLU if it is `dense`."""
        x, _ = self.encoder(imaging.normalize(image, self.preprocessing))
        x = x.astype(jnp.float32)
        maps = {"last": jax.lax.stop_gradient(x) if self.frozen else x}
        return Encoded(maps, image.shape[2:4])

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> Float[Array, "b 2 c"]:
        """The prototypes of background and object, each the mean of the shots'.

        Args:
          support_image: RGB in 0..255, or its features.
          support_mask: 1 object, 0 background, -1 undecided.
        """
        return self.merge(prototypes(self._cells(support_image), support_mask))

    def merge(self, tasks: Float[Array, "b k 2 c"]) -> Float[Array, "b 2 c"]:
        """The task of K supports from their tasks."""
        return tasks.mean(1)

    def segment(
        self,
        task: Float[Array, "b 2 c"],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits of the object: its score minus the background's."""
        return _logits(self._answers(task, self._cells(query_image))[0], size_of(query_image))

    def loss(
        self,
        support_image: Float[Array, "b k h w 3"] | Encoded,
        support_mask: Float[Array, "b k h w"],
        query_image: Float[Array, "b q h w 3"] | Encoded,
        query_mask: Float[Array, "b q h w"],
        *,
        train: bool = False,
    ) -> Float[Array, ""]:
        """Cross entropy of both answers, and of images told by their own prototypes (SSP 3.5)."""
        support, query = self._cells(support_image), self._cells(query_image)
        of_support = prototypes(support, support_mask)
        answers = self._answers(self.merge(of_support), query)
        answers.append(similarity(query, prototypes(query, query_mask)))
        total = sum(cross_entropy(scores, query_mask) for scores in answers)
        own = similarity(support, of_support)
        return total + SUPPORT_LOSS * cross_entropy(own, support_mask)

    def _cells(self, image: Array | Encoded) -> Float[Array, "b n h w c"]:
        encoded = image if isinstance(image, Encoded) else self.encoded(image)
        x = encoded.maps["last"]
        return (self.project(x) if self.projection else x).astype(jnp.float32)

    def _answers(
        self, task: Float[Array, "b 2 c"], query: Float[Array, "b q h w c"]
    ) -> list[Float[Array, "b q 2 h w"]]:
        """Scores of background and object, the final ones first."""
        support = jnp.broadcast_to(task[:, None], (*query.shape[:2], *task.shape[1:]))
        background, found = (support[:, :, n, None, None] for n in (0, 1))
        first_background, first_found = _mixed(query, found, similarity(query, support))
        first = _compared(query, first_background, first_found)
        if not self.refine:
            return [first]
        second_background, second_found = _mixed(query, found, first)
        second = _compared(
            query,
            0.5 * background + 0.2 * first_background + 0.3 * second_background,
            0.5 * found + 0.2 * first_found + 0.3 * second_found,
        )
        return [0.7 * second + 0.3 * first, first]


def prototypes(
    features: Float[Array, "b n h w c"], mask: Float[Array, "b n height width"]
) -> Float[Array, "b n 2 c"]:
    """Each image's mean over the background, then over the object; the mask comes down to the cells."""

    def mean(part):
        weight = resize(part[..., None], features.shape[2:4], align_corners=True)
        return (features * weight).sum((2, 3)) / (weight.sum((2, 3)) + EPSILON)

    found, background = split(mask)
    return jnp.stack([mean(background), mean(found)], 2)


def similarity(
    features: Float[Array, "b n h w c"], pair: Float[Array, "b n 2 c"]
) -> Float[Array, "b n 2 h w"]:
    """Cosines with each image's pair of prototypes, times 10."""
    return SCALE * jnp.einsum("bnhwc,bnmc->bnmhw", unit(features), unit(pair))


def sure(
    probability: Float[Array, "*b n"], threshold: float, least: int = LEAST
) -> Bool[Array, "*b n"]:
    """The pixels above the threshold; where there is none, the `least` most probable."""
    above = probability > threshold
    least = min(least, probability.shape[-1])
    best = jax.lax.top_k(probability, least)[1]
    chosen = jax.nn.one_hot(best, probability.shape[-1]).sum(-2) > 0
    return jnp.where(above.any(-1, keepdims=True), above, chosen)


def self_support(
    query: Float[Array, "n c"], scores: Float[Array, "2 n"]
) -> tuple[Float[Array, "c"], Float[Array, "c"], Float[Array, "n c"]]:
    """One query's own prototypes: of its object, of its background, and of each pixel's background.

    Args:
      query: features of its cells.
      scores: of background and object, as it was answered before.
    """
    background, found = jax.nn.softmax(scores, 0)
    found, background = sure(found, SURE_OBJECT), sure(background, SURE_BACKGROUND)

    def mean(chosen):
        return jnp.where(chosen[:, None], query, 0.0).sum(0) / chosen.sum()

    direction = unit(query)
    like = jnp.where(background[None], SHARPNESS * direction @ direction.T, -jnp.inf)
    return mean(found), mean(background), jax.nn.softmax(like, -1) @ query


def cross_entropy(
    scores: Float[Array, "b n 2 h w"], mask: Float[Array, "b n height width"]
) -> Float[Array, ""]:
    """The mean over decided pixels, scores brought to the mask's size."""
    logits = _logits(scores, mask.shape[2:4])
    found, background = split(mask)
    loss = found * jax.nn.softplus(-logits) + background * jax.nn.softplus(logits)
    return loss.sum() / jnp.maximum((found + background).sum(), 1.0)


def _mixed(
    query: Float[Array, "b q h w c"],
    found: Float[Array, "b q 1 1 c"],
    scores: Float[Array, "b q 2 h w"],
) -> tuple[Float[Array, "b q h w c"], Float[Array, "b q 1 1 c"]]:
    """Prototypes of background and object, from what `scores` are sure of (SSP 3.2 to 3.4)."""
    b, q, h, w, c = query.shape
    each = jax.vmap(jax.vmap(self_support))
    own, background, local = each(query.reshape(b, q, h * w, c), scores.reshape(b, q, 2, h * w))
    mixed = 0.3 * background[:, :, None, None] + 0.7 * local.reshape(query.shape)
    return mixed, 0.5 * found + 0.5 * own[:, :, None, None]


def _compared(
    query: Float[Array, "b q h w c"],
    background: Float[Array, "b q h w c"],
    found: Float[Array, "b q 1 1 c"],
) -> Float[Array, "b q 2 h w"]:
    direction = unit(query)
    cosines = [(direction * unit(prototype)).sum(-1) for prototype in (background, found)]
    return SCALE * jnp.stack(cosines, 2)


def _logits(scores: Float[Array, "b n 2 h w"], size: tuple[int, int]) -> Float[Array, "b n H W"]:
    return resize((scores[:, :, 1] - scores[:, :, 0])[..., None], size, align_corners=True)[..., 0]


METHOD = SSP
