"""Directions of features that say where a cell lies or what surrounds the object, and are left out."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COVERED = 0.08  # of a cell that is background for it to count as such: REBASE


def leading(x: Float[Array, "n c"], count: int) -> Float[Array, "c count"]:
    """The first right singular vectors of x."""
    spread = jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST)
    return jnp.linalg.eigh(spread)[1][:, ::-1][:, : min(count, x.shape[1])]


def without(x: Float[Array, "n c"], directions: Float[Array, "c s"]) -> Float[Array, "n c"]:
    """What is left of x beside orthonormal (or zero) directions."""
    return x - (x @ directions) @ directions.T


def background(
    x: Float[Array, "n c"], outside: Float[Array, "n"], share: float
) -> Float[Array, "c s"]:
    """Along which background cells lie most (REBASE): as many directions as `share` of them.

    Args:
      outside: which part of each cell is background.

    Returns:
      Orthonormal columns, zero beyond that many.
    """
    counts = (outside >= COVERED).astype(x.dtype)
    found = leading(x * counts[:, None], math.ceil(share * len(x)))
    wanted = jnp.ceil(share * counts.sum())
    return jnp.where(jnp.arange(found.shape[1])[None] < wanted, found, 0.0)
