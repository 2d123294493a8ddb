"""Depthwise convolutions: each channel has a kernel of its own.

XLA's CPU convolution takes 20 to 50 times as long for these as a sum of shifted products, which it
compiles to one pass over the map; the gradients are written out for the same reason. GPUs and TPUs
keep XLA's convolution.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k 1 c"]
) -> Float[Array, "n h w c"]:
    """A convolution of odd kernel size without stride, zeros around the map, size kept."""
    return jax.lax.platform_dependent(x, kernel, cpu=_shifted, default=_plain)


def grouped(x: Array, kernel: Array, *, stride: int, pads: Sequence[tuple[int, int]]) -> Array:
    """XLA's convolution of one group a channel, with zeros around the map as told."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _plain(x: Array, kernel: Array) -> Array:
    return grouped(x, kernel, stride=1, pads=[(kernel.shape[0] // 2,) * 2] * 2)


def _shifts(x: Array, size: int) -> list[Array]:
    """What each weight of a kernel is multiplied with, row by row."""
    h, w = x.shape[1:3]
    pad = (size // 2,) * 2
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    return [x[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]


def _shifted(x: Array, kernel: Array) -> Array:
    size, channels = len(kernel), x.shape[-1]
    weights = kernel.reshape(-1, 1, 1, 1, channels)
    return sum(part * weight for part, weight in zip(_shifts(x, size), weights, strict=True))


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel), (x, kernel)


def _backward(known: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    def shifted(x, kernel, slope):
        sums = [(part * slope).sum((0, 1, 2)) for part in _shifts(x, len(kernel))]
        return _shifted(slope, kernel[::-1, ::-1]), jnp.stack(sums).reshape(kernel.shape)

    def plain(x, kernel, slope):
        return jax.vjp(_plain, x, kernel)[1](slope)

    return jax.lax.platform_dependent(*known, slope, cpu=shifted, default=plain)


depthwise.defvjp(_forward, _backward)
