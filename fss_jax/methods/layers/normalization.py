"""BatchNorm that says which statistics it uses, and the convolution that usually stands before it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.layers.convolution import Conv, he_fan_out

STATISTICS = ("batch", "episode", "running", "frozen")


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


def local_response(
    x: Float[Array, "*b h w c"], size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "*b h w c"]:
    """Caffe's LRN across channels, with AlexNet's numbers: x / (1 + alpha mean(x^2))^beta.

    The mean is over the `size` channels around each, those beyond the ends being zero.
    """
    squares = jnp.square(x.astype(jnp.float32))
    sums = jax.lax.reduce_window(
        squares, 0.0, jax.lax.add, (1,) * (x.ndim - 1) + (size,), (1,) * x.ndim, "SAME"
    )
    return (x * (1.0 + alpha / size * sums) ** -beta).astype(x.dtype)
