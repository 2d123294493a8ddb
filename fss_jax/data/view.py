"""What a method sees of an episode, and at which size its answer is scored."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from fss_jax.data import feature_bank, imaging, weak_annotation
from fss_jax.data.bank import Bank, Episode, gather
from fss_jax.data.feature_bank import FeatureBank


@dataclasses.dataclass(frozen=True)
class View:
    """The sizes that a method sees and that it is scored at (0 = true size on the canvas).

    `annotation` is what a method sees of its support's masks, a kind of `weak.KINDS`.
    """

    support_size: int
    query_size: int
    score_size: int
    canvas: int
    fill: tuple[float, float, float]
    void: str
    annotation: str = "mask"

    @classmethod
    def of(cls, config: ConfigDict, score_size: int, void: str, annotation: str = "mask") -> "View":
        """A config's view; with query_size 0 it sees queries at the size that is scored.

        Args:
          score_size, void: a protocol's; see `scoring.protocols.Protocol.view`.
        """
        return cls(
            support_size=config.support_size,
            query_size=config.query_size or score_size,
            score_size=score_size,
            canvas=config.canvas,
            fill=fill_color(config),
            void=void,
            annotation=annotation,
        )

    def episode(
        self,
        bank: Bank | FeatureBank,
        support: Int[Array, "b k"],
        query: Int[Array, "b q"],
        key: Array | None = None,
    ) -> Episode:
        """The episodes of B records; `key` draws how a bank of features shows each image."""
        shared = {"score_size": self.score_size, "void": self.void}
        if isinstance(bank, FeatureBank):
            episode = feature_bank.gather(bank, support, query, key=key, **shared)
        else:
            episode = gather(
                bank,
                support,
                query,
                support_size=self.support_size,
                query_size=self.query_size,
                fill=self.fill,
                **shared,
            )
        annotation = weak_annotation.annotate(self.annotation, episode.support_mask, support)
        return episode.replace(support_mask=annotation)

    def to_score(
        self, logits: Float[Array, "b q h w"], size: Int[Array, "b q 2"]
    ) -> Float[Array, "b q S T"]:
        """Stretches logits from the size the method saw to the size that is scored."""
        if self.query_size == self.score_size:
            return logits
        if self.score_size:
            size = jnp.full_like(size, self.score_size)
        side = self.score_size or self.canvas
        return jax.vmap(jax.vmap(imaging.unwarp, (0, 0, None)), (0, 0, None))(logits, size, side)


def fill_color(config: ConfigDict) -> tuple[float, float, float]:
    """The mean color of the config's preprocessing: zero for the network."""
    return imaging.preprocessing(config.model.preprocessing).mean
