"""Convolutions on any number of leading axes, as matrix products where these are faster."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.layers import winograd
from fss_jax.runtime import processor

# N(0, sqrt(2 / (k * k * out))): torchvision's convolutions and the FSS-1000 release.
CACHE = 8 << 20  # bytes of an image's windows that a CPU's cache holds
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def scaled(channels: int, width: float) -> int:
    """Channels of a layer at a width multiplier; at least 8."""
    return max(8, round(width * channels))


def taps(
    x: Float[Array, "*b h w c"],
    size: tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> list[Float[Array, "*b oh ow c"]]:
    """What each tap of a convolution's kernel sees at every position, row by row of the kernel."""
    pads = [(0, 0)] * (x.ndim - 3) + [(padding[0],) * 2, (padding[1],) * 2, (0, 0)]
    x = jnp.pad(x, pads) if any(padding) else x
    down, across = ((n - 1) * dilation for n in size)
    rows, cols = x.shape[-3] - down, x.shape[-2] - across
    return [
        x[..., i : i + rows : stride, j : j + cols : stride, :]
        for i in range(0, down + 1, dilation)
        for j in range(0, across + 1, dilation)
    ]


def windows(
    x: Float[Array, "*b h w c"], size: tuple[int, int], **how: Any
) -> Float[Array, "*b oh ow patch"]:
    """`taps` side by side: what each window sees, rows x cols x channels, as the kernel lies."""
    return jnp.concatenate(taps(x, size, **how), axis=-1)


class Steps(NamedTuple):
    """How the windows of a convolution lie: see `Conv`."""

    stride: int
    dilation: int
    padding: tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c features"], steps: Steps
) -> Float[Array, "b oh ow features"]:
    """XLA's convolution; on a CPU its kernel's gradient is a product of each image's windows.

    XLA's own takes several times as long there (docs/performance.md). As any function with a gradient
    of its own it has no forward-mode derivative.
    """
    return _plain(x, kernel, steps)


def _forward(x: Array, kernel: Array, steps: Steps) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel, steps), (x, kernel)


def _backward(steps: Steps, known: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = known
    of_x = jax.vjp(lambda x: _plain(x, kernel, steps), x)[1](slope)[0]

    def plain(x, slope):
        return jax.vjp(lambda kernel: _plain(x, kernel, steps), kernel)[1](slope)[0]

    positions = slope.shape[1] * slope.shape[2]
    fits = positions * kernel[..., 0].size * kernel.dtype.itemsize <= CACHE
    if not fits and "avx512f" in processor.instructions():
        of_kernel = plain  # XLA's is the faster one there
    else:
        of_kernel = functools.partial(_of_kernel, kernel=kernel, steps=steps, fits=fits)
    return of_x, jax.lax.platform_dependent(x, slope, cpu=of_kernel, default=plain)


def _of_kernel(x: Array, slope: Array, *, kernel: Array, steps: Steps, fits: bool) -> Array:
    """The kernel's gradient, image by image, since the windows of all would not fit a CPU's cache.

    Args:
      fits: whether those of one image do; else it is computed tap by tap.
    """
    size, features = kernel.shape[:2], kernel.shape[-1]

    def product(seen, slope):
        seen, slope = (a.reshape(-1, a.shape[-1]) for a in (seen, slope))
        return jnp.matmul(seen.T, slope, preferred_element_type=jnp.float32)

    def add(total, image):
        pixels, slope = image
        if fits:
            found = product(windows(pixels, size, **steps._asdict()), slope)
        else:
            found = jnp.concatenate(
                [product(tap, slope) for tap in taps(pixels, size, **steps._asdict())]
            )
        return total + found, None

    total = jax.lax.scan(add, jnp.zeros((kernel[..., 0].size, features)), (x, slope))[0]
    return total.reshape(kernel.shape).astype(kernel.dtype)


convolution.defvjp(_forward, _backward)


def _plain(x: Array, kernel: Array, steps: Steps, groups: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(steps.stride,) * 2,
        padding=[(p, p) for p in steps.padding],
        rhs_dilation=(steps.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


class Conv(nn.Module):
    """A convolution with PyTorch's symmetric padding, as matrix products where these are faster.

    XLA's CPU convolution is several times slower than the same product for 1x1 kernels
    (docs/performance.md: 3x forward and backward); on accelerators both are the same operation. Wide
    3x3 kernels are `winograd`'s on a CPU. Params as nn.Conv's: kernel [k, k, in, features], bias
    [features].

    Attributes:
      features: output channels.
      kernel: height and width of the kernel, or one number for both.
      stride: pixels between outputs.
      dilation: pixels between taps.
      padding: zeros on each side of (height, width); None: the centered k // 2 * dilation.
      use_bias: whether to add a bias.
      kernel_init, bias_init: initializers.
      groups: as many parts of the input, each seen by as many of the outputs (the two towers of
        AlexNet); the kernel is [k, k, in / groups, features].
      dtype: compute type.
    """

    features: int
    kernel: int | tuple[int, int] = 3
    stride: int = 1
    dilation: int = 1
    padding: int | tuple[int, int] | None = None
    use_bias: bool = True
    kernel_init: Callable = he_fan_out
    bias_init: Callable = nn.initializers.zeros
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b oh ow features"]:
        size = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        shape = (*size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        if size == (1, 1) and self.groups == 1:
            x = x[..., :: self.stride, :: self.stride, :]
            y = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], self.features)
        else:
            padding = self.padding
            if padding is None:
                padding = tuple(k // 2 * self.dilation for k in size)
            elif isinstance(padding, int):
                padding = (padding, padding)
            y = self._convolve(x, kernel, padding)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
            y = y + bias.reshape((1,) * (y.ndim - 1) + (self.features,))
        return y

    def _convolve(self, x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
        images = x.reshape(-1, *x.shape[-3:])
        steps = Steps(self.stride, self.dilation, padding)
        if self.groups > 1:
            y = _plain(images, kernel, steps, self.groups)
        elif steps == Steps(1, 1, (1, 1)) and winograd.pays_off(images, kernel):
            y = winograd.conv3x3(images, kernel)
        else:
            y = convolution(images, kernel, steps)
        return y.reshape(*x.shape[:-3], *y.shape[1:])
