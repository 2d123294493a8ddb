"""Predictors that do not segment: what a score means nothing without (all take an `Episode`)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fss_jax.data.bank import Episode
from fss_jax.data.records import Records, TooFewImages
from fss_jax.methods.layers import split

NAMES = ("all_object", "copy_support", "support_zeroed", "wrong_support", "colour_histogram")
BINS = 6  # per color channel; the best of 6, 8 and 12 on fss_glyphs/tiny's validation classes


def all_object(episode: Episode) -> Float[Array, "b q h w"]:
    """Every pixel is the object."""
    return jnp.ones(episode.query_image.shape[:-1])


def copy_support(episode: Episode) -> Float[Array, "b q h w"]:
    """The union of the support masks, stretched over the query."""
    union = episode.support_mask.max(1)
    rows, cols = episode.query_image.shape[2:4]
    stretched = jax.image.resize(union, (union.shape[0], rows, cols), "nearest")
    logits = jnp.where(stretched > 0.5, 1.0, -1.0)
    return jnp.broadcast_to(logits[:, None], episode.query_image.shape[:-1])


def colour_histogram(episode: Episode) -> Float[Array, "b q h w"]:
    """Back-projection: is the color more frequent on the support's object than beside it?

    Swain and Ballard's ratio histogram (1991), logits being its logarithm; several shots take the
    maximum.
    """

    def bins(image):
        index = jnp.clip(image * (BINS / 256.0), 0, BINS - 1).astype(jnp.int32)
        return (index[..., 0] * BINS + index[..., 1]) * BINS + index[..., 2]

    def log_frequency(color, weight):
        counts = jnp.zeros(BINS**3).at[color].add(weight)
        return jnp.log(counts / jnp.maximum(weight.sum(), 1.0) + 1e-4)

    def shot(support, mask, query):
        color = bins(support).ravel()
        inside, outside = (log_frequency(color, part.ravel()) for part in split(mask))
        ratio = inside - outside
        return ratio[bins(query)]

    def one(supports, masks, query):
        return jax.vmap(shot, (0, 0, None))(supports, masks, query).max(0)

    return jax.vmap(one)(episode.support_image, episode.support_mask, episode.query_image)


def zero_support(
    episode: Episode, fill: tuple[float, float, float]
) -> tuple[Float[Array, "b k h w 3"], Float[Array, "b k h w"]]:
    """Supports that say nothing: images of the mean color with empty masks."""
    # Zero times what is there: XLA would spend seconds on evaluating a constant while compiling.
    blank = jnp.asarray(fill).reshape((1,) * 4 + (3,)) + 0.0 * episode.support_image
    return blank, 0.0 * episode.support_mask


def wrong_supports(records: Records, seed: int = 0) -> np.ndarray:
    """int32 [N, K]: for each record the supports of another class, none of an image that shows its own.

    Raises:
      TooFewImages: no other class has enough such images.
    """
    classes = np.asarray([class_id for _, class_id in records.items])
    images = np.asarray([image_id for image_id, _ in records.items])
    shots = records.support.shape[1]
    pools: dict[int, dict[int, np.ndarray]] = {}
    for own in np.unique(records.class_id):
        clean = ~np.isin(images, images[classes == own])
        pool = {c: np.flatnonzero(clean & (classes == c)) for c in np.unique(classes) if c != own}
        pools[own] = {c: members for c, members in pool.items() if len(members) >= shots}
        if not pools[own]:
            raise TooFewImages(
                f"no class but {own} has {shots} images without it, so there are no wrong supports; "
                "leave the trivial predictors out (--notrivial)"
            )
    rows = []
    for position, own in enumerate(records.class_id):
        rng = np.random.default_rng((seed, 2, position))
        pool = pools[own]
        other = list(pool)[rng.integers(len(pool))]
        rows.append(rng.choice(pool[other], shots, replace=False))
    return np.asarray(rows, np.int32)
