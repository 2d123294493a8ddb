"""Siamese dense matching: cells of query and support compared by a learned L1 similarity.

After Koch et al. (2015), as OSLSM compares with it (6 and supplement B): two cells are alike with
probability sigmoid(sum_c a_c |q_c - s_c| + b), and a query's cell becomes what the support's most
similar cell is.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax.methods.contract.dense import DenseMethod
from fss_jax.methods.layers import cells, scaled
from fss_jax.methods.nearest import margin


class Siamese(DenseMethod):
    """Both branches are one network, trained end to end.

    A cell's score is its best similarity among the object's cells minus that among the background's,
    which the trainer's cross-entropy can train; `pair_loss` is the published loss on pairs. A
    support without an object cell scores -1 everywhere, one without a background cell 1.

    Attributes:
      pixels: share of the support's cells (in `pair_loss` also of the query's) that a training step
        looks at (supplement B).
      keep: share of the support's cells that are compared with at test; the paper kept 0.3 of a
        5-shot support. Which ones is drawn once.
    """

    pixels: float = 0.5
    keep: float = 1.0

    any_shots = False
    own_losses = {"pairs": "pair_loss"}

    def setup(self):
        super().setup()
        channels = scaled(self.hidden, self.width)
        # Before training: minus the mean absolute difference.
        self.kernel = self.param("kernel", nn.initializers.constant(-1.0 / channels), (channels,))
        self.bias = self.param("bias", nn.initializers.zeros, ())

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Array]:
        """The support's cells: 'features' [b, cells, c] and 'label' [b, cells] (1, 0, -1 none)."""
        features, label = self.encode_support(support_image, support_mask, train=train)
        if train:
            return {"features": features, "label": self._sample(label, 0)}
        cells = label.shape[1]
        kept = np.random.default_rng(0).permutation(cells)[: max(1, round(self.keep * cells))]
        return {"features": features[:, kept], "label": label[:, kept]}

    def segment(
        self,
        task: dict[str, Array],
        query_image: Float[Array, "b q h w 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits: the difference of similarities, upsampled."""
        x = self.encode(query_image, train=train)
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        # `bias` is the same for all cells and cancels.
        unlike = -jax.vmap(weighted_l1, (0, 0, None))(flat, task["features"], self.kernel)
        distance = [
            jnp.where((task["label"] == value)[:, None, :], unlike, jnp.inf).min(-1)
            for value in (0, 1)
        ]
        score = margin(jnp.stack(distance, -1)).reshape(x.shape[:-1])
        return self.upsample(score, query_image)

    def pair_loss(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        query_image: Float[Array, "b q height width 3"],
        query_mask: Float[Array, "b q height width"],
        *,
        train: bool = True,
    ) -> Float[Array, ""]:
        """The mean cross-entropy of 'same label' over pairs of cells, half of each image's drawn."""
        support, label = self.encode_support(support_image, support_mask, train=train)
        x = self.encode(query_image, train=train)
        truth = cells.cell_labels(query_mask, x.shape[2:4], self.layout, self.first_center).reshape(
            len(x), -1
        )
        if train:
            label, truth = self._sample(label, 0), self._sample(truth, 1)
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        logit = jax.vmap(weighted_l1, (0, 0, None))(flat, support, self.kernel) + self.bias
        same = truth[:, :, None] == label[:, None, :]
        counted = (truth[:, :, None] >= 0) & (label[:, None, :] >= 0)
        entropy = jnp.where(counted, nn.softplus(jnp.where(same, -logit, logit)), 0.0)
        return entropy.sum() / jnp.maximum(counted.sum(), 1)

    def _sample(self, label: Int[Array, "b cells"], stream: int) -> Int[Array, "b cells"]:
        """Keeps a share `pixels` of the labels; the rest becomes -1. Randomness: rng 'dropout'."""
        key = jax.random.fold_in(self.make_rng("dropout"), stream)
        return jnp.where(jax.random.uniform(key, label.shape) < self.pixels, label, -1)


def weighted_l1(
    query: Float[Array, "n c"],
    support: Float[Array, "m c"],
    weight: Float[Array, "c"],
    *,
    block: int = 8,
) -> Float[Array, "n m"]:
    """sum_c weight_c |query_c - support_c| of all pairs.

    Args:
      block: supports at a time: the differences take n * block * c numbers, in the gradient too.
    """
    surplus = -len(support) % block
    blocks = jnp.pad(support, ((0, surplus), (0, 0))).reshape(-1, block, support.shape[-1])

    @jax.checkpoint
    def some(part):
        difference = jnp.abs(query[:, None, :] - part[None, :, :])
        return jnp.einsum("nmc,c->nm", difference, weight, precision=jax.lax.Precision.HIGHEST)

    return jnp.moveaxis(jax.lax.map(some, blocks), 0, 1).reshape(query.shape[0], -1)[
        :, : len(support)
    ]


METHOD = Siamese
