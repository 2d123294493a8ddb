"""InceptionV3 (Szegedy et al., CVPR 2016) as torchvision has it, without its two classifiers."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone
from fss_jax.methods.layers import ConvNorm, max_pool, scaled

_INIT = nn.initializers.truncated_normal(0.1)  # torchvision's; its BatchNorm has epsilon 1e-3

# A block is its branches, whose outputs are concatenated; a branch is its steps in order. A step is
# a convolution (torchvision's name, channels, kernel), a tuple of convolutions side by side, or a
# pooling. "down" is a 3x3 kernel with stride 2 and, in torchvision, no padding; so is "max".
Branches = tuple[tuple, ...]


def _block_a(pool: int) -> Branches:
    return (
        (("branch1x1", 64, 1),),
        (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        ("average", ("branch_pool", pool, 1)),
    )


def _block_c(mid: int) -> Branches:
    return (
        (("branch1x1", 192, 1),),
        (("branch7x7_1", mid, 1), ("branch7x7_2", mid, (1, 7)), ("branch7x7_3", 192, (7, 1))),
        (
            ("branch7x7dbl_1", mid, 1),
            ("branch7x7dbl_2", mid, (7, 1)),
            ("branch7x7dbl_3", mid, (1, 7)),
            ("branch7x7dbl_4", mid, (7, 1)),
            ("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average", ("branch_pool", 192, 1)),
    )


_BLOCK_B: Branches = (
    (("branch3x3", 384, "down"),),
    (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, "down")),
    ("max",),
)
_BLOCK_D: Branches = (
    (("branch3x3_1", 192, 1), ("branch3x3_2", 320, "down")),
    (
        ("branch7x7x3_1", 192, 1),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, "down"),
    ),
    ("max",),
)
_BLOCK_E: Branches = (
    (("branch1x1", 320, 1),),
    (("branch3x3_1", 384, 1), (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1)))),
    (
        ("branch3x3dbl_1", 448, 1),
        ("branch3x3dbl_2", 384, 3),
        (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
    ),
    ("average", ("branch_pool", 192, 1)),
)
BLOCKS = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _BLOCK_E,
    "Mixed_7c": _BLOCK_E,
}


def _average(x: Float[Array, "*b h w c"], count_border: bool) -> Float[Array, "*b h w c"]:
    """3x3 average pooling at stride 1, over the padding too or over the image alone."""
    y = x.reshape(-1, *x.shape[-3:])
    y = nn.avg_pool(y, (3, 3), (1, 1), [(1, 1), (1, 1)], count_include_pad=count_border)
    return y.reshape(x.shape)


class Block(nn.Module):
    """One Mixed_* block: the branches of the table above, concatenated."""

    branches: Branches
    width: float
    margin: int
    count_border: bool
    batch_norm: str
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool) -> Float[Array, "*b oh ow d"]:
        def conv(y, name, channels, kernel):
            down = kernel == "down"
            return ConvNorm(
                scaled(channels, self.width),
                3 if down else kernel,
                stride=2 if down else 1,
                padding=self.margin if down else None,
                use_bias=False,
                kernel_init=_INIT,
                epsilon=1e-3,
                batch_norm=self.batch_norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=name,
            )(y, train=train)

        outputs = []
        for branch in self.branches:
            y = x
            for step in branch:
                if step == "average":
                    y = _average(y, self.count_border)
                elif step == "max":
                    y = max_pool(y, 3, 2, padding=self.margin)
                elif isinstance(step[0], tuple):
                    y = jnp.concatenate([conv(y, *each) for each in step], -1)
                else:
                    y = conv(y, *step)
            outputs.append(y)
        return jnp.concatenate(outputs, -1)


class InceptionV3(nn.Module):
    """The convolutional trunk. Returns the last map and named intermediates.

    Intermediates: Conv2d_2b_3x3 (stride 2), Conv2d_4a_3x3 (4), Mixed_5d (8), Mixed_6e (16),
    Mixed_7c (32). Input channels are whatever comes in; names follow torchvision.

    Attributes:
      width: channel multiplier.
      padded: torchvision leaves the stem and the stride-2 layers unpadded, which makes odd sizes
        (299 -> 149, 147, 73, 71, 35, 17, 8) and needs 75 pixels at least. True pads them
        symmetrically, so that every stride divides the size exactly, as a decoder with skips needs.
      count_border: whether average pools count their zero padding: torchvision's do, Keras' do not.
      batch_norm: which statistics normalize; see layers.BatchNorm.
      axis_name: pmap axis of BatchNorm in training.
      dtype: compute type.
    """

    width: float = 1.0
    padded: bool = False
    count_border: bool = True
    batch_norm: str = "running"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b oh ow d"], dict[str, Array]]:
        shared = {
            "batch_norm": self.batch_norm,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }
        margin = 1 if self.padded else 0

        def conv(x, name, channels, kernel, stride, padding):
            return ConvNorm(
                scaled(channels, self.width),
                kernel,
                stride=stride,
                padding=padding,
                use_bias=False,
                kernel_init=_INIT,
                epsilon=1e-3,
                **shared,
                name=name,
            )(x, train=train)

        features = {}
        x = conv(x, "Conv2d_1a_3x3", 32, 3, 2, margin)
        x = conv(x, "Conv2d_2a_3x3", 32, 3, 1, margin)
        x = features["Conv2d_2b_3x3"] = conv(x, "Conv2d_2b_3x3", 64, 3, 1, 1)
        x = max_pool(x, 3, 2, padding=margin)
        x = conv(x, "Conv2d_3b_1x1", 80, 1, 1, 0)
        x = features["Conv2d_4a_3x3"] = conv(x, "Conv2d_4a_3x3", 192, 3, 1, margin)
        x = max_pool(x, 3, 2, padding=margin)
        for name, branches in BLOCKS.items():
            x = Block(branches, self.width, margin, self.count_border, **shared, name=name)(
                x, train=train
            )
            if name in ("Mixed_5d", "Mixed_6e", "Mixed_7c"):
                features[name] = x
        return x, features


def _pyramid(*, width, dtype, batch_norm, axis_name, remat=False, source="") -> InceptionV3:
    return InceptionV3(
        width=width,
        padded=True,
        count_border=source != "keras",
        batch_norm=batch_norm,
        axis_name=axis_name,
        dtype=dtype,
    )


BACKBONES = {
    "inception_v3": Backbone(
        network=InceptionV3,
        stride=32,
        channels=2048,
        preprocessing="tf",
        pyramid=_pyramid,
        # The last map of each stride: our choice, the paper's is not known.
        skips=("Mixed_6e", "Mixed_5d", "Conv2d_4a_3x3", "Conv2d_2b_3x3", None),
        compiles_slowly=True,
    )
}
