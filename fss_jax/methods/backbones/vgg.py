"""VGG-16 (Simonyan and Zisserman 2015): trunk, classifier, fully convolutional and dilated forms."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, Tail
from fss_jax.methods.layers import (
    BatchNorm,
    Conv,
    fully_connected,
    head_of,
    max_pool,
    recomputed,
    scaled,
)

VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
NORMS = ("none", "batch")


class VGG(nn.Module):
    """Blocks of 3x3 convolutions, then fc6, fc7 and fc8 as far as they are asked for.

    Returns the last layer's output (after the last pooling, fc7's ReLU, or fc8) and named maps: after
    the ReLU of each convolution (conv1_1), before it (linear1_1), and after each pooling (pool1).
    Names are Caffe's: conv1_1 ... conv5_3, fc6, fc7, fc8, and bn1_1 ... bn5_3 with BatchNorm. Input
    channels are whatever comes in.

    Attributes:
      blocks: (convolutions, channels) of each block; a block ends with a 2x2 pooling.
      width: channel multiplier.
      norm: 'none', or 'batch' for BatchNorm after each convolution (torchvision's vgg16_bn).
      batch_norm: which statistics normalize; see layers.BatchNorm.
      stride: pixels per cell of the result; 0: all poolings stay. A smaller one than the blocks give
        removes the last poolings, dilates what follows, and keeps sizes by zero padding (Yu and
        Koltun 2016).
      pad: zero padding of conv1_1; None: 1. FCN pads by 100 or more.
      hidden: channels of fc6 and fc7; 0: the network ends after the last block.
      fc6_size: window of fc6 in cells; 0: the whole map, which is the classifier.
      outputs: channels of fc8, which has no ReLU; 0: the network ends after fc7.
      ceil: whether a pooling keeps an incomplete last window, as Caffe's does; torchvision's drops it.
      last_relu: whether the last block's last convolution has its ReLU.
      dropout: rate after fc6 and fc7.
      dtype: compute type; parameters stay float32.
      axis_name: pmap axis of BatchNorm in training.
      remat: whether the gradient computes each block again instead of keeping its activations.

    Raises:
      ValueError: an unknown norm, a stride that the blocks cannot give, an image too small.
    """

    blocks: tuple[tuple[int, int], ...] = VGG16
    width: float = 1.0
    norm: str = "none"
    batch_norm: str = "running"
    stride: int = 0
    pad: int | None = None
    hidden: int = 4096
    fc6_size: int = 0
    outputs: int = 1000
    ceil: bool = True
    last_relu: bool = True
    dropout: float = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    def _strides(self) -> tuple[int, int]:
        """Pixels per cell of the result, and with all poolings."""
        natural = 2 ** len(self.blocks)
        return self.stride or natural, natural

    @property
    def first_center(self) -> float:
        """Where the middle of the output's first cell lies, in pixels, when fc6_size is given."""
        stride, natural = self._strides()
        center = (stride - 1) / 2 - ((1 if self.pad is None else self.pad) - 1)
        inside = self.hidden and stride == natural  # fc6's windows stay inside the map
        return center + (stride * (self.fc6_size - 1) / 2 if inside else 0.0)

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        if self.norm not in NORMS:
            raise ValueError(f"VGG norm {self.norm!r}: choose one of {', '.join(NORMS)}")
        stride, natural = self._strides()
        if stride > natural or math.log2(stride) % 1:
            raise ValueError(
                f"VGG with {len(self.blocks)} blocks cannot have a stride of {stride} pixels: "
                f"choose a power of two up to {natural}"
            )
        layers = {}
        reached = dilation = 1
        for block in range(1, len(self.blocks) + 1):
            pooled = reached < stride
            run = functools.partial(
                VGG._block, number=block, dilation=dilation, pooled=pooled, train=train
            )
            x, found = recomputed(run, self.remat)(self, x)
            layers |= found
            if pooled:
                reached *= 2
            else:
                dilation *= 2
        if self.hidden:
            x = fully_connected(self, x, dilation=dilation, same=stride < natural, train=train)
        return x, layers

    def _block(
        self, x: Array, *, number: int, dilation: int, pooled: bool, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The convolutions of a block, and its pooling."""
        convs, channels = self.blocks[number - 1]
        layers = {}
        for conv in range(1, convs + 1):
            name = f"{number}_{conv}"
            x = Conv(
                scaled(channels, self.width),
                dilation=dilation,
                padding=self.pad if name == "1_1" else None,
                dtype=self.dtype,
                name=f"conv{name}",
            )(x)
            if self.norm == "batch":
                x = BatchNorm(
                    self.batch_norm,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name=f"bn{name}",
                )(x, train=train)
            layers[f"linear{name}"] = x
            if self.last_relu or (number, conv) != (len(self.blocks), convs):
                x = nn.relu(x)
            layers[f"conv{name}"] = x
        if pooled:
            x = layers[f"pool{number}"] = max_pool(x, 2, 2, ceil=self.ceil)
        return x, layers


def _pyramid(*, width, dtype, batch_norm, axis_name, remat=False, source="") -> VGG:
    norms = {"norm": "batch", "batch_norm": batch_norm, "axis_name": axis_name}
    return VGG(width=width, hidden=0, dtype=dtype, remat=remat, **norms)


def _levels(*, width, dtype, axis_name=None) -> VGG:
    return VGG(width=width, hidden=0, ceil=False, dtype=dtype)


def _middle(*, width, dtype, batch_norm="", axis_name=None) -> VGG:
    return VGG(width=width, hidden=0, stride=8, dtype=dtype)  # no map is asked of block 5


def _dense(*, width, dtype, axis_name=None) -> VGG:
    return VGG(width=width, hidden=0, stride=8, last_relu=False, dtype=dtype)


BACKBONES = {
    "vgg16": Backbone(
        network=VGG,
        stride=32,
        channels=VGG16[-1][1],
        pyramid=_pyramid,
        skips=("conv5_3", "conv4_3", "conv3_3", "conv2_2", "conv1_2"),
        middle=_middle,
        middle_maps=("pool3", "conv4_3"),
        levels=_levels,
        level_maps=(  # HSNet's
            ("linear4_1", "linear4_2", "linear4_3"),
            ("linear5_1", "linear5_2", "linear5_3"),
            ("pool5",),
        ),
        dense=_dense,
        fcn=VGG,
        takes=("hidden", "fc6_size", "blocks", "norm", "axis_name", "remat"),
        fc6_map=7,
        tail=Tail(
            ("fc6", "fc7"),
            {"hidden": 0},
            lambda method: head_of(method, 2 ** len(method.blocks)),
        ),
        toy={"blocks": ((1, 64), (1, 128), (1, 256)), "geometry": "dilated8", "fc6_size": 1},
    ),
    "vgg16_bn": Backbone(
        network=functools.partial(VGG, norm="batch"), stride=32, channels=VGG16[-1][1]
    ),
}
