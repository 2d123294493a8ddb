"""Directions of feature vectors, as cosines compare them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """Vectors of length one along the last axis; zero stays zero, with finite gradients."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-16))
