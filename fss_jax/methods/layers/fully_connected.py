"""fc6, fc7 and fc8 of VGG-16 and AlexNet, with one set of weights for a classifier and for an FCN."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.layers.convolution import Conv, Steps, convolution, scaled, windows


class Window(nn.Module):
    """A linear map of every `size` x `size` window of cells: fc6.

    Attributes:
      features: outputs per window.
      size: cells per side; 0 takes the whole map, which is the dense layer of a classifier.
      dilation: cells between taps.
      same: keep the map's size by zero padding; otherwise windows stay inside the map.
      kernel_init: initializer.
      dtype: compute type.

    The kernel is [size, size, channels, features] in every form, so weights interchange.

    Raises:
      ValueError: a map smaller than the window, or another map than the whole-map kernel's.
    """

    features: int
    size: int = 0
    dilation: int = 1
    same: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b oh ow features"]:
        height, width, channels = x.shape[-3:]
        rows, cols = (self.size, self.size) if self.size else (height, width)
        down, across = (rows - 1) * self.dilation, (cols - 1) * self.dilation
        if not self.same and (height <= down or width <= across):
            raise ValueError(
                f"{self.name} needs a map of at least {down + 1}x{across + 1} cells, the image "
                f"gives {height}x{width}: enlarge the image"
            )
        if not self.size and self.has_variable("params", "kernel"):
            made = self.get_variable("params", "kernel").shape[:2]
            if made != (rows, cols):
                raise ValueError(
                    f"{self.name} was made for a map of {made[0]}x{made[1]} cells, the image gives "
                    f"{rows}x{cols}: use images of the size that the network was made for"
                )
        shape = (rows, cols, channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        if self.same:
            around = [(n // 2, n - n // 2) for n in (down, across)]
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + around + [(0, 0)])
        if self.same and rows * cols > 1:
            images = x.reshape(-1, *x.shape[-3:])
            y = convolution(images, kernel, Steps(1, self.dilation, (0, 0)))
            y = y.reshape(*x.shape[:-3], *y.shape[1:])
        else:
            # The windows inside a map are few: gathered for one product they take a fifth of the
            # time that XLA's CPU convolution takes for so large a kernel.
            patches = windows(x, (rows, cols), dilation=self.dilation)
            y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, self.features)
            y = y.reshape(*patches.shape[:-1], self.features)
        return y + bias.reshape((1,) * (y.ndim - 1) + (self.features,))


def fully_connected(
    net: nn.Module,
    x: Float[Array, "*b h w c"],
    *,
    dilation: int = 1,
    same: bool = False,
    train: bool = False,
) -> Float[Array, "*b oh ow d"]:
    """Ends a backbone's compact method with fc6, fc7 and, if `net.outputs`, fc8 (no ReLU).

    Args:
      net: the backbone: fields hidden, outputs, fc6_size, dropout, width, dtype.
      dilation, same: of fc6.
    """
    hidden = scaled(net.hidden, net.width)
    drop = nn.Dropout(net.dropout, deterministic=not train)
    x = Window(hidden, net.fc6_size, dilation, same, dtype=net.dtype, name="fc6")(x)
    x = drop(nn.relu(x))
    x = Conv(hidden, 1, kernel_init=nn.initializers.he_normal(), dtype=net.dtype, name="fc7")(x)
    x = drop(nn.relu(x))
    if not net.outputs:
        return x
    init = nn.initializers.lecun_normal()
    return Conv(net.outputs, 1, kernel_init=init, dtype=net.dtype, name="fc8")(x)


class Head(nn.Module):
    """fc6 and fc7 of a backbone, by themselves. Fields as in fully_connected."""

    hidden: int
    width: float
    fc6_size: int
    dilation: int
    same: bool
    dtype: Any
    dropout: float = 0.0
    outputs: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n oh ow d"]:
        return fully_connected(self, x, dilation=self.dilation, same=self.same)


def head_of(method: nn.Module, natural: int) -> Head:
    """fc6 and fc7 as in a method's `features`.

    Args:
      method: fields hidden, width, dtype; `layout` and `features` of its setup.
      natural: the network's stride with all its poolings.
    """
    stride = method.layout.stride
    return Head(
        method.hidden,
        method.width,
        method.features.fc6_size,
        dilation=natural // stride,
        same=stride < natural,
        dtype=method.dtype,
        parent=None,
    )
