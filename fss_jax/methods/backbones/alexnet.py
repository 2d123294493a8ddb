"""AlexNet twice: torchvision's one tower (Krizhevsky 2014), and Caffe's two (Krizhevsky 2012)."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, Tail
from fss_jax.methods.layers import (
    Conv,
    fully_connected,
    head_of,
    local_response,
    max_pool,
    scaled,
)

STRIDE = 32
# (name, channels, kernel, stride, padding, groups); pooled after POOL_AFTER by 3x3 windows, stride 2.
CONVS = (
    ("conv1", 64, 11, 4, 2, 1),
    ("conv2", 192, 5, 1, 2, 1),
    ("conv3", 384, 3, 1, 1, 1),
    ("conv4", 256, 3, 1, 1, 1),
    ("conv5", 256, 3, 1, 1, 1),
)
CAFFE_CONVS = (  # Caffe's bvlc_alexnet, which normalizes responses after conv1 and conv2
    ("conv1", 96, 11, 4, 0, 1),
    ("conv2", 256, 5, 1, 2, 2),
    ("conv3", 384, 3, 1, 1, 1),
    ("conv4", 384, 3, 1, 1, 2),
    ("conv5", 256, 3, 1, 1, 2),
)
POOL_AFTER = ("conv1", "conv2", "conv5")
NORMALIZED = ("conv1", "conv2")  # in Caffe's, before the pooling


def _channels(number: int, width: float, even: bool) -> int:
    """`scaled`, and a number that two groups can share if it has to be even."""
    return 2 * scaled(number // 2, width) if even else scaled(number, width)


class AlexNet(nn.Module):
    """Five convolutions, then fc6, fc7 and fc8 as far as they are asked for.

    Returns the last layer's output (after the last pooling, fc7's ReLU, or fc8) and the activation
    after the ReLU of each convolution by its name. Pools round up as in Caffe; at 224 pixels that
    changes nothing.

    Attributes:
      width: channel multiplier.
      stride: 0 or 32, the only one that it has (a VGG may be dilated to less).
      pad: zero padding of conv1; None: 2, in Caffe's 0.
      hidden: channels of fc6 and fc7; 0: the network ends after the last pooling.
      fc6_size: window of fc6 in cells; 0: the whole map, which is the classifier.
      outputs: channels of fc8, which has no ReLU; 0: the network ends after fc7.
      dropout: rate after fc6 and fc7, as in Caffe; torchvision has it before each.
      dtype: compute type; parameters stay float32.
      caffe: Caffe's form: two groups in conv2, conv4 and conv5, and local response normalization.

    Raises:
      ValueError: another stride, an image too small.
    """

    width: float = 1.0
    stride: int = 0
    pad: int | None = None
    hidden: int = 4096
    fc6_size: int = 0
    outputs: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32
    caffe: bool = False

    @property
    def convs(self) -> tuple[tuple[str, int, int, int, int, int], ...]:
        return CAFFE_CONVS if self.caffe else CONVS

    @property
    def first_center(self) -> float:
        """Where the middle of the output's first cell lies, in pixels, when fc6_size is given."""
        pad = self.convs[0][4] if self.pad is None else self.pad
        # conv1 sees 11 pixels; each pooling moves by one of its cells, of 4, 8 and 16 pixels.
        return 5 - pad + 4 + 8 + 16 + STRIDE * (self.fc6_size - 1) / 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        if self.stride not in (0, STRIDE):
            raise ValueError(
                f"AlexNet has a stride of {STRIDE} pixels, not {self.stride}: "
                "choose a geometry of that stride, or the backbone vgg16"
            )
        layers = {}
        for name, channels, kernel, stride, padding, groups in self.convs:
            if name == "conv1" and self.pad is not None:
                padding = self.pad
            x = Conv(
                _channels(channels, self.width, self.caffe),
                kernel,
                stride,
                padding=padding,
                groups=groups,
                dtype=self.dtype,
                name=name,
            )(x)
            x = layers[name] = nn.relu(x)
            if self.caffe and name in NORMALIZED:
                x = local_response(x)
            if name in POOL_AFTER:
                x = max_pool(x, 3, 2, ceil=True)
        if self.hidden:
            x = fully_connected(self, x, train=train)
        return x, layers


def _backbone(caffe: bool) -> Backbone:
    network = functools.partial(AlexNet, caffe=caffe)
    return Backbone(
        network=network,
        stride=STRIDE,
        channels=CONVS[-1][1],
        preprocessing="caffe" if caffe else "torchvision",
        fcn=network,
        takes=("hidden", "fc6_size"),
        fc6_map=6,
        tail=Tail(("fc6", "fc7"), {"hidden": 0}, lambda method: head_of(method, STRIDE)),
    )


BACKBONES = {"alexnet": _backbone(caffe=False), "caffe_alexnet": _backbone(caffe=True)}
