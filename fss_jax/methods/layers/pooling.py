"""Max pooling whose gradient is fast on a CPU, too."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, "*b h w c"], size: int, stride: int, padding: int = 0, *, ceil: bool = False
) -> Float[Array, "*b oh ow c"]:
    """Max pooling with `padding` pixels of minus infinity on each side.

    An incomplete last window is dropped, as in PyTorch, or with `ceil` kept, as in Caffe. Written
    as maxima of shifted slices: on a CPU the gradient of XLA's window reduction takes 30 times as
    long. Values that tie in a window share its gradient.
    """
    for axis in (x.ndim - 3, x.ndim - 2):
        length = x.shape[axis] + 2 * padding
        out = (max(length - size, 0) + (stride - 1 if ceil else 0)) // stride + 1
        reach = (out - 1) * stride + 1
        pads = [(0, 0)] * x.ndim
        pads[axis] = (padding, padding + max(0, reach - 1 + size - length))
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        slices = [jax.lax.slice_in_dim(x, i, i + reach, stride, axis) for i in range(size)]
        x = functools.reduce(jnp.maximum, slices)
    return x
