"""ResNet-50 and ResNet-101 (He et al., CVPR 2016), with torchvision's names."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone
from fss_jax.methods.layers import BatchNorm, Conv, max_pool, recomputed, scaled

STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
CHANNELS = (64, 128, 256, 512)  # of the bottleneck's 3x3; a stage puts out four times as many


class Bottleneck(nn.Module):
    """1x1 down, 3x3 (with the dilation), 1x1 up, plus the shortcut; its last ReLU is the caller's."""

    channels: int
    out_channels: int
    stride: int
    dilation: int
    stride_first: bool
    batch_norm: str
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool) -> Float[Array, "*b oh ow d"]:
        def conv_norm(x, conv, norm, features, **kwargs):
            x = Conv(features, use_bias=False, dtype=self.dtype, name=conv, **kwargs)(x)
            norm = BatchNorm(self.batch_norm, axis_name=self.axis_name, dtype=self.dtype, name=norm)
            return norm(x, train=train)

        first, second = (self.stride, 1) if self.stride_first else (1, self.stride)
        y = nn.relu(conv_norm(x, "conv1", "bn1", self.channels, kernel=1, stride=first))
        step = {"stride": second, "dilation": self.dilation}
        y = nn.relu(conv_norm(y, "conv2", "bn2", self.channels, **step))
        y = conv_norm(y, "conv3", "bn3", self.out_channels, kernel=1)
        if self.stride != 1 or x.shape[-1] != self.out_channels:
            names = ("downsample_conv", "downsample_bn")
            x = conv_norm(x, *names, self.out_channels, kernel=1, stride=self.stride)
        return x + y


class ResNet(nn.Module):
    """The convolutional trunk. Returns the last stage's map and {stem, layer1, ... layer4}.

    Before their ReLU the maps of each block are named as well: linear1_0 of layer1_0.

    Input channels are whatever comes in (the relation network feeds four). Names follow
    torchvision: conv1, bn1, layer1_0 {conv1, bn1, ... downsample_conv, downsample_bn}.

    Attributes:
      depth: 50 or 101.
      width: channel multiplier.
      stages: how many of the four stages to run.
      strides: of each stage. Dilated networks have 1 instead of 2 in the late stages.
      dilations: of each stage's 3x3 convolutions, its first block's too (DeepLab's convention;
        torchvision's replace_stride_with_dilation lags one block behind).
      stride_first: strides in a block's first 1x1, as in the paper, Caffe's and Keras' weights;
        torchvision's weights have it in the 3x3.
      last_relu: whether the last block of all has its ReLU.
      batch_norm: which statistics normalize; see layers.BatchNorm.
      axis_name: pmap axis of BatchNorm in training.
      dtype: compute type.
      remat: whether the gradient computes each block again instead of keeping its activations.

    Raises:
      ValueError: no such depth.
    """

    depth: int = 50
    width: float = 1.0
    stages: int = 4
    strides: tuple[int, ...] = (1, 2, 2, 2)
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    stride_first: bool = False
    last_relu: bool = True
    batch_norm: str = "running"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        if self.depth not in STAGES:
            raise ValueError(f"ResNet depth {self.depth}: choose one of {sorted(STAGES)}")
        stem = scaled(64, self.width)
        x = Conv(stem, kernel=7, stride=2, use_bias=False, dtype=self.dtype, name="conv1")(x)
        norm = BatchNorm(self.batch_norm, axis_name=self.axis_name, dtype=self.dtype, name="bn1")
        x = nn.relu(norm(x, train=train))
        features = {"stem": x}
        x = max_pool(x, 3, 2, padding=1)
        for stage in range(self.stages):
            for block in range(STAGES[self.depth][stage]):
                run = functools.partial(ResNet._block, stage=stage, block=block, train=train)
                x = features[f"linear{stage + 1}_{block}"] = recomputed(run, self.remat)(self, x)
                last = (stage, block) == (self.stages - 1, STAGES[self.depth][stage] - 1)
                x = x if last and not self.last_relu else nn.relu(x)
            features[f"layer{stage + 1}"] = x
        return x, features

    def _block(self, x: Array, *, stage: int, block: int, train: bool) -> Array:
        bottleneck = Bottleneck(
            channels=scaled(CHANNELS[stage], self.width),
            out_channels=scaled(4 * CHANNELS[stage], self.width),
            stride=self.strides[stage] if block == 0 else 1,
            dilation=self.dilations[stage],
            stride_first=self.stride_first,
            batch_norm=self.batch_norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=f"layer{stage + 1}_{block}",
        )
        return bottleneck(x, train=train)


def _middle(depth, *, width, dtype, batch_norm, axis_name) -> ResNet:
    """Blocks 1 to 3 at stride 8, the third dilated (CANet 4.1)."""
    return ResNet(
        depth,
        width=width,
        stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        stride_first=True,  # though its weights, torchvision's, have it in the 3x3
        batch_norm=batch_norm,
        axis_name=axis_name,
        dtype=dtype,
    )


def _pyramid(depth, *, width, dtype, batch_norm, axis_name, remat=False, source="") -> ResNet:
    return ResNet(
        depth,
        width=width,
        stride_first=source == "keras",
        batch_norm=batch_norm,
        axis_name=axis_name,
        dtype=dtype,
        remat=remat,
    )


def _levels(depth, *, width, dtype, axis_name=None) -> ResNet:
    return ResNet(depth, width=width, batch_norm="frozen", axis_name=axis_name, dtype=dtype)


def _dense(depth, *, width, dtype, axis_name=None) -> ResNet:
    """Three stages, the third dilated."""
    dilated = {"stages": 3, "strides": (1, 2, 1), "dilations": (1, 1, 2), "last_relu": False}
    shared = {"batch_norm": "frozen", "axis_name": axis_name, "dtype": dtype}
    return ResNet(depth, width=width, **dilated, **shared)


BACKBONES = {
    f"resnet{depth}": Backbone(
        network=functools.partial(ResNet, depth),
        stride=32,
        channels=4 * CHANNELS[-1],
        middle=functools.partial(_middle, depth),
        middle_maps=("layer2", "layer3"),
        pyramid=functools.partial(_pyramid, depth),
        skips=("layer3", "layer2", "layer1", "stem", None),
        levels=functools.partial(_levels, depth),
        level_maps=tuple(
            tuple(f"linear{stage}_{block}" for block in range(STAGES[depth][stage - 1]))
            for stage in (2, 3, 4)
        ),
        dense=functools.partial(_dense, depth),
        compiles_slowly=depth > 50,
    )
    for depth in STAGES
}
