"""Least squares in closed form: object cells to 1, background cells to -1, both sides half."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST


def halves(
    inside: Float[Array, "*k m"], outside: Float[Array, "*k m"]
) -> tuple[Float[Array, "*k m"], Float[Array, "*k m"]]:
    """Weights of an image's cells as object and as background: each side sums to a half.

    Args:
      inside, outside: a cell's part that is object, background. A side that an image does not show
        weighs nothing.
    """
    return tuple(
        side / (2 * jnp.maximum(side.sum(-1, keepdims=True), 1e-6)) for side in (inside, outside)
    )


def extended(x: Float[Array, "*k m d"]) -> Float[Array, "*k m d1"]:
    """Features and a constant one."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], -1)


def fit(
    x: Float[Array, "k m d"],
    inside: Float[Array, "k m"],
    outside: Float[Array, "k m"],
    strength: float,
) -> tuple[Float[Array, "d"], Float[Array, "k m"]]:
    """Weights by all images, and the scores of each image by the others (with one: by itself).

    Args:
      x: features, the last of them a constant one, which is not shrunk: the answer does not depend
        on the origin of the others.
      inside, outside: see `halves`.
      strength: of the ridge, in units of the features' mean variance over one image: more images are
        held back less.
    """
    positive, negative = halves(inside, outside)

    def moments(image):
        cells, plus, minus = image
        second = jnp.matmul((cells * (plus + minus)[:, None]).T, cells, precision=HIGHEST)
        return second, jnp.matmul((plus - minus)[None], cells, precision=HIGHEST)[0]

    second, first = jax.lax.map(moments, (x, positive, negative))

    def solve(second, first):
        total = jnp.maximum(second[-1, -1], 1e-6)
        mean = second[-1, :-1] / total
        variance = jnp.trace(second[:-1, :-1]) / total - jnp.square(mean).sum()
        ridge = strength * variance / len(mean) + 1e-6 * total
        shrunk = jnp.full(len(first), ridge).at[-1].set(1e-6 * total)
        return jnp.linalg.solve(second + jnp.diag(shrunk), first)

    weights = solve(second.sum(0), first.sum(0))
    if len(x) == 1:
        return weights, x @ weights
    # One after another: on a CPU of few cores jaxlib's batched solver can wait for ever for a thread
    # of its own pool, where two of them run at once.
    others = jax.lax.map(
        lambda rest: solve(*rest),
        (second.sum(0, keepdims=True) - second, first.sum(0, keepdims=True) - first),
    )
    return weights, jnp.einsum("kmd,kd->km", x, others)
