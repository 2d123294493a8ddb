"""Layers that linen lacks: BatchNorm with its statistics stated, fast 1x1 convolutions, upsampling.

Every layer takes any number of leading axes. The methods hand over [episode, image, height, width,
channel], which is how BatchNorm can tell one episode from another.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fss_jax.methods.layers import winograd

STATISTICS = ("batch", "episode", "running", "frozen")

# N(0, sqrt(2 / (k * k * out))): torchvision's convolutions and the FSS-1000 release.
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def scaled(channels: int, width: float) -> int:
    """Channels of a layer at a width multiplier; at least 8."""
    return max(8, round(width * channels))


def recomputed(function: Callable, remat: bool) -> Callable:
    """A function of (module, x) whose gradient keeps x and computes again.

    What is no array, such as `train`, must be bound to it before: arguments are traced. Sums over
    devices are kept: they are small, and a second round of messages is not.
    """

    def kept(primitive, *_, **__) -> bool:
        return primitive.name.startswith("psum")

    return nn.remat(function, policy=kept) if remat else function


class BatchNorm(nn.Module):
    """Batch normalization that says which statistics it uses.

    Variables: params scale and bias; batch_stats mean and var (running averages, the variance
    biased as in flax), updated when train=True.

    Attributes:
      statistics: what normalizes.
        'batch': the batch at hand, in training and at test: all axes but the channels.
        'episode': likewise, but each episode (leading axis) by itself, so the result does not
          depend on how many episodes a step holds. One episode a step: equal to 'batch'.
        'running': the batch in training, the running averages at test (the usual meaning).
        'frozen': the running averages always; they never change.
      momentum: share of the old running average that is kept (1 minus PyTorch's momentum).
      epsilon: added to the variance.
      axis_name: pmap axis over which the statistics of training are averaged. With 'episode' this
        concerns the running averages only.
      dtype: of the result; the statistics are float32.

    Raises:
      ValueError: unknown statistics.
    """

    statistics: str = "running"
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> Float[Array, "*b h w c"]:
        if self.statistics not in STATISTICS:
            raise ValueError(
                f"BatchNorm statistics {self.statistics!r}: choose one of {', '.join(STATISTICS)}"
            )
        channels = x.shape[-1:]
        wide = (1,) * (x.ndim - 1) + channels
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32).reshape(wide)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32).reshape(wide)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        x = x.astype(jnp.float32)

        if self.statistics == "frozen" or (self.statistics == "running" and not train):
            mean, var = running_mean.value.reshape(wide), running_var.value.reshape(wide)
        else:
            episode = self.statistics == "episode"
            axis_name = self.axis_name if train else None
            axes = tuple(range(1 if episode else 0, x.ndim - 1))
            mean = _mean(x, axes, None if episode else axis_name)
            var = _mean(jnp.square(x - mean), axes, None if episode else axis_name)
            if train and not self.is_initializing():
                for running, new in ((running_mean, mean), (running_var, var)):
                    new = _mean(new, tuple(range(x.ndim - 1)), axis_name).reshape(channels)
                    running.value = self.momentum * running.value + (1 - self.momentum) * new

        return ((x - mean) * (jax.lax.rsqrt(var + self.epsilon) * scale) + bias).astype(self.dtype)


def _mean(x: Array, axes: tuple[int, ...], axis_name: str | None) -> Array:
    mean = jnp.mean(x, axes, keepdims=True)
    return mean if axis_name is None else jax.lax.pmean(mean, axis_name)


def windows(
    x: Float[Array, "*b h w c"],
    size: tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Float[Array, "*b oh ow patch"]:
    """What each window of a convolution sees, rows x cols x channels in a row, as its kernel lies."""
    pads = [(0, 0)] * (x.ndim - 3) + [(padding[0],) * 2, (padding[1],) * 2, (0, 0)]
    x = jnp.pad(x, pads) if any(padding) else x
    down, across = ((n - 1) * dilation for n in size)
    rows, cols = x.shape[-3] - down, x.shape[-2] - across
    shifted = [
        x[..., i : i + rows : stride, j : j + cols : stride, :]
        for i in range(0, down + 1, dilation)
        for j in range(0, across + 1, dilation)
    ]
    return jnp.concatenate(shifted, axis=-1)


class Conv(nn.Module):
    """A convolution with PyTorch's symmetric padding, as matrix products where these are faster.

    XLA's CPU convolution is several times slower than the same product for 1x1 kernels
    (docs/performance.md
    measured 3x forward and backward); on accelerators both are the same operation. Wide 3x3 kernels
    are `winograd`'s on a CPU. Params as nn.Conv's: kernel [k, k, in, features], bias [features].

    Attributes:
      features: output channels.
      kernel: height and width of the kernel, or one number for both.
      stride: pixels between outputs.
      dilation: pixels between taps.
      padding: zeros on each side of (height, width); None: the centered k // 2 * dilation.
      use_bias: whether to add a bias.
      kernel_init, bias_init: initializers.
      as_product: gather the windows and multiply: inside a loop XLA's CPU backend takes 30 times as
        long for the gradient of a convolution's kernel (docs/performance.md), not for a product's.
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
    as_product: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b oh ow features"]:
        size = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        kernel = self.param("kernel", self.kernel_init, (*size, x.shape[-1], self.features))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        if size == (1, 1):
            x = x[..., :: self.stride, :: self.stride, :]
            y = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], self.features)
        else:
            padding = self.padding
            if padding is None:
                padding = tuple(k // 2 * self.dilation for k in size)
            elif isinstance(padding, int):
                padding = (padding, padding)
            if self.as_product:
                y = windows(
                    x, size, stride=self.stride, dilation=self.dilation, padding=padding
                ) @ kernel.reshape(-1, self.features)
            else:
                y = self._convolve(x, kernel, padding)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
            y = y + bias.reshape((1,) * (y.ndim - 1) + (self.features,))
        return y

    def _convolve(self, x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
        images = x.reshape(-1, *x.shape[-3:])
        simple = (self.stride, self.dilation, padding) == (1, 1, (1, 1))
        if simple and winograd.pays_off(images, kernel):
            y = winograd.conv3x3(images, kernel)
        else:
            y = jax.lax.conv_general_dilated(
                images,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=[(p, p) for p in padding],
                rhs_dilation=(self.dilation, self.dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return y.reshape(*x.shape[:-3], *y.shape[1:])


class ConvNorm(nn.Module):
    """Convolution (conv), BatchNorm (bn), ReLU. Attributes as of `Conv` and `BatchNorm`."""

    features: int
    kernel: int | tuple[int, int] = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = True
    kernel_init: Callable = he_fan_out
    batch_norm: str = "running"
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> Float[Array, "*b oh ow features"]:
        conv = Conv(
            self.features,
            self.kernel,
            self.stride,
            padding=self.padding,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )
        norm = BatchNorm(
            self.batch_norm, self.momentum, self.epsilon, self.axis_name, self.dtype, name="bn"
        )
        return nn.relu(norm(conv(x), train=train))


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


def interpolation_taps(size: int, out: int, *, align_corners: bool) -> tuple[np.ndarray, ...]:
    """Linear interpolation along one axis, PyTorch's two conventions.

    With `align_corners` the first and the last samples coincide; otherwise pixels are squares that
    cover the same length, and beyond the outermost centers the outermost value continues.

    Returns:
      int [out] lower and upper neighbor of each sample, and float [out] weight of the upper one.
    """
    index = np.arange(out)
    if align_corners:
        source = index * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        source = np.clip((index + 0.5) * (size / out) - 0.5, 0.0, size - 1.0)
    low = np.floor(source).astype(int)
    return low, np.minimum(low + 1, size - 1), source - low


def interpolation(size: int, out: int, *, align_corners: bool) -> np.ndarray:
    """[out, size]: `interpolation_taps` as a matrix."""
    low, high, upper = interpolation_taps(size, out, align_corners=align_corners)
    weights = np.zeros((out, size))
    weights[np.arange(out), low] += 1 - upper
    weights[np.arange(out), high] += upper
    return weights


def resize_bilinear(
    x: Float[Array, "*b h w c"], out: tuple[int, int], *, align_corners: bool
) -> Float[Array, "*b oh ow c"]:
    """PyTorch's bilinear interpolate: no anti-aliasing, both conventions of `interpolation`."""
    return _resize(x, x.shape[-3:-1], tuple(out), align_corners)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _resize(x: Array, size: tuple[int, int], out: tuple[int, int], align_corners: bool) -> Array:
    """Two shifted reads an axis, a tenth of the time of products with `interpolation` on a CPU.

    The gradient keeps the products, since the reads' own would add up scattered values.
    """
    for axis in (-3, -2):
        low, high, upper = interpolation_taps(
            size[axis + 3], out[axis + 3], align_corners=align_corners
        )
        upper = jnp.asarray(upper, x.dtype).reshape(
            (1,) * (x.ndim + axis) + (-1,) + (1,) * -(axis + 1)
        )
        x = (
            jnp.take(x, low, axis, mode="clip") * (1 - upper)
            + jnp.take(x, high, axis, mode="clip") * upper
        )
    return x


def _resize_forward(x, size, out, align_corners):
    return _resize(x, size, out, align_corners), None


def _resize_backward(size, out, align_corners, _, gradient):
    rows, cols = (
        jnp.asarray(interpolation(size[i], out[i], align_corners=align_corners), gradient.dtype)
        for i in (0, 1)
    )
    return (jnp.einsum("...opc,oh,pw->...hwc", gradient, rows, cols),)


_resize.defvjp(_resize_forward, _resize_backward)


def nearest_x2(x: Float[Array, "*b h w c"]) -> Float[Array, "*b oh ow c"]:
    """Doubles height and width by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2)


def unit(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """Vectors of length one along the last axis; zero stays zero, with finite gradients."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-16))
