"""SqueezeNet 1.0 (Iandola et al. 2016) as torchvision has it: small enough for a CPU, no BatchNorm."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, Tail
from fss_jax.methods.layers import Conv, max_pool, scaled

# (squeeze, expand) channels of fire2 ... fire9; each half of what is expanded has `expand`.
FIRES = (
    *((16, 64), (16, 64), (32, 128), (32, 128)),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
STRIDE = 16
FEATURES = 2 * FIRES[-1][1]  # of fire9
POOL_AFTER = ("conv1", "fire4", "fire8")


def fire_channels(number: int, width: float) -> tuple[int, int]:
    """(squeeze, expand) of a fire module at a channel multiplier; the first is fire2."""
    squeeze, expand = FIRES[number - 2]
    return scaled(squeeze, width), scaled(expand, width)


class Fire(nn.Module):
    """A 1x1 squeeze, then 1x1 and 3x3 convolutions side by side, all with ReLU.

    Attributes:
      squeeze, expand: channels; each of the two expansions has `expand`.
      dtype: compute type.
    """

    squeeze: int
    expand: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b h w d"]:
        x = nn.relu(Conv(self.squeeze, 1, dtype=self.dtype, name="squeeze")(x))
        small = Conv(self.expand, 1, dtype=self.dtype, name="expand1x1")(x)
        large = Conv(self.expand, 3, dtype=self.dtype, name="expand3x3")(x)
        return nn.relu(jnp.concatenate([small, large], -1))


class SqueezeNet(nn.Module):
    """The trunk, and its classifier if asked for. Returns the last map and named intermediates.

    Intermediates: conv1 (stride 2), fire4 (4), fire8 (8), fire9 (16, 512 channels). Pools round up
    as in Caffe.

    Attributes:
      width: channel multiplier.
      stride: 0 or 16, the only one that it has.
      pad: zero padding of conv1; None: 0, as in torchvision, which leaves the border uncovered. With
        9 an image of n pixels gets ceil(n / 16) cells.
      outputs: channels of conv10, averaged over the map after its ReLU: [*b, 1, 1, outputs]; 0: the
        network ends after the last fire module.
      fires: the last fire module that there is, with the pooling that follows it; 9 is the network.
      dropout: rate before conv10.
      dtype: compute type; parameters stay float32.

    Raises:
      ValueError: another stride.
    """

    width: float = 1.0
    stride: int = 0
    pad: int | None = None
    outputs: int = 1000
    fires: int = 9
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @property
    def first_center(self) -> float:
        """Where the middle of fire9's first cell lies, in pixels."""
        return (
            3.0 - (self.pad or 0) + 2 + 4 + 8
        )  # conv1 sees 7 pixels; each pooling moves by a cell

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        if self.stride not in (0, STRIDE):
            raise ValueError(
                f"SqueezeNet has a stride of {STRIDE} pixels, not {self.stride}: choose the geometry "
                "squeezenet, or the backbone vgg16"
            )
        layers = {}

        def keep(name, x):
            layers[name] = x
            return max_pool(x, 3, 2, ceil=True) if name in POOL_AFTER else x

        stem = Conv(
            scaled(96, self.width), 7, 2, padding=self.pad or 0, dtype=self.dtype, name="conv1"
        )
        x = keep("conv1", nn.relu(stem(x)))
        for number in range(2, self.fires + 1):
            name = f"fire{number}"
            x = keep(name, Fire(*fire_channels(number, self.width), self.dtype, name=name)(x))
        if self.outputs:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(Conv(self.outputs, 1, dtype=self.dtype, name="conv10")(x))
            x = x.mean((-3, -2), keepdims=True)
        named = ("conv1", "fire4", "fire8", "fire9")
        return x, {name: layers[name] for name in named if name in layers}


def covering(
    *, width: float, dtype: Any, axis_name: str | None = None, **fields: Any
) -> SqueezeNet:
    """The trunk without classifier, its cells over the whole image: ceil(n / 16) of n pixels a side.

    Cell i's middle is pixel 16 i + 8, as if the image were cut in squares.
    """
    return SqueezeNet(width=width, stride=STRIDE, pad=9, outputs=0, dtype=dtype, **fields)


def _middle(*, width, dtype, batch_norm="", axis_name=None) -> SqueezeNet:
    return covering(width=width, dtype=dtype, fires=8)


def _last_fire(method: nn.Module) -> Fire:
    sizes = fire_channels(9, method.width)
    return Fire(*sizes, method.dtype, parent=None)


BACKBONES = {
    "squeezenet1_0": Backbone(
        network=SqueezeNet,
        stride=STRIDE,
        channels=FEATURES,
        covering=covering,
        middle=_middle,
        middle_maps=("fire8",),
        fcn=SqueezeNet,
        tail=Tail(("fire9",), {"fires": 8}, _last_fire),
    )
}
