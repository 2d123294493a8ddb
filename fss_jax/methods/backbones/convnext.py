"""ConvNeXt (Liu et al., CVPR 2022) as DINOv3 distilled it (arXiv 2508.10104), with its names."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, of_one_width
from fss_jax.methods.backbones.vit import last_norm, layer_norm
from fss_jax.methods.layers import Conv
from fss_jax.methods.layers.depthwise import depthwise


class Block(nn.Module):
    """7x7 depthwise (dwconv), norm, pwconv1, exact GELU, pwconv2, scaled by gamma and added."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        channels = x.shape[-1]
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        y = Depthwise(self.dtype, name="dwconv")(x)
        y = nn.gelu(
            dense(4 * channels, name="pwconv1")(layer_norm(1e-6, "norm")(y)), approximate=False
        )
        y = dense(channels, name="pwconv2")(y).astype(jnp.float32)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,))
        return x + y * gamma.reshape(1, 1, 1, -1)


class Depthwise(nn.Module):
    """A 7x7 kernel for each channel: kernel [7, 7, 1, c], bias [c]."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        channels = x.shape[-1]
        init = nn.initializers.truncated_normal(0.02)
        kernel = self.param("kernel", init, (7, 7, 1, channels)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        y = depthwise(x.astype(self.dtype), kernel).astype(jnp.float32)
        return y + bias.reshape(1, 1, 1, -1)


class ConvNeXt(nn.Module):
    """Returns the last stage's map behind the final norm, and {stage1 ... stage4, cls}.

    stage1 to stage4 are as the stages leave them, at strides 4, 8, 16 and 32: a pyramid. `cls` is
    the mean of stage4 behind the norm. All are float32. Sides that are no multiples of 32 lose
    their last pixels, as in the released code.

    Names: downsample_layers_0_0 (convolution), downsample_layers_0_1 (norm), then for the others
    norm before convolution; stages_0_0 {dwconv, norm, pwconv1, pwconv2, gamma}; norm.

    Attributes:
      depths: blocks of each stage.
      dims: channels of each stage.
      last_norm: whether the map that is returned goes through the norm.
      dtype: compute type of the products; norms and the sum of the blocks are float32.
      remat: whether the gradient computes each block again instead of keeping its activations.

    Raises:
      ValueError: an image smaller than 32 x 32 pixels.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    dims: tuple[int, ...] = (96, 192, 384, 768)
    last_norm: bool = True
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w 3"], *, train: bool = False
    ) -> tuple[Float[Array, "*b rows cols c"], dict[str, Array]]:
        del train  # nothing differs: no dropout, no running averages
        lead = x.shape[:-3]
        stride = 4 * 2 ** (len(self.dims) - 1)
        if min(x.shape[-3:-1]) < stride:
            h, w = x.shape[-3:-1]
            raise ValueError(f"an image of {h} x {w} pixels; this backbone needs {stride} a side")
        x = x.reshape(-1, *x.shape[-3:])
        block = nn.remat(Block) if self.remat else Block
        features = {}
        for stage, (depth, dim) in enumerate(zip(self.depths, self.dims, strict=True)):
            conv, norm = (
                f"downsample_layers_{stage}_{n}" for n in ((0, 1) if not stage else (1, 0))
            )
            step = 2 if stage else 4
            down = Conv(dim, step, step, padding=0, dtype=self.dtype, name=conv)
            x = layer_norm(1e-6, norm)(x) if stage else x
            x = down(x[:, : x.shape[1] // step * step, : x.shape[2] // step * step])
            x = x.astype(jnp.float32) if stage else layer_norm(1e-6, norm)(x)
            for index in range(depth):
                x = block(self.dtype, name=f"stages_{stage}_{index}")(x)
            features[f"stage{stage + 1}"] = x.reshape(*lead, *x.shape[1:])
        norm = layer_norm(1e-6, "norm")
        features["cls"] = norm(x.mean((1, 2))).reshape(*lead, -1)
        y = norm(x) if self.last_norm else x
        return y.reshape(*lead, *x.shape[1:]), features


# By the names of the released code (torch.hub).
VARIANTS = {
    "dinov3_convnext_tiny": ConvNeXt,
    "dinov3_convnext_small": functools.partial(ConvNeXt, (3, 3, 27, 3)),
    "dinov3_convnext_base": functools.partial(ConvNeXt, (3, 3, 27, 3), (128, 256, 512, 1024)),
    "dinov3_convnext_large": functools.partial(ConvNeXt, (3, 3, 27, 3), (192, 384, 768, 1536)),
}


BACKBONES = {
    name: Backbone(
        network=make,
        stride=32,
        channels=make().dims[-1],
        covering=functools.partial(of_one_width, make),
        compared=("stage2", "stage3", "stage4"),
        takes=("remat",),
        tail=last_norm(1e-6),
    )
    for name, make in VARIANTS.items()
}
