"""DINOv2 and DINOv3 vision transformers: maps of patch features at every block, on any grid.

Oquab et al. 2023 (arXiv 2304.07193), Darcet et al. 2024 (registers, arXiv 2309.16588) and Siméoni et
al. 2025 (DINOv3, arXiv 2508.10104). Layers have the names of the released code, with the one
product for queries, keys and values as three. fss_jax.weights.dino reads the released files.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.backbones import Backbone, Tail, of_one_width
from fss_jax.methods.layers.positions import bicubic, rotate, rotation

_init = nn.initializers.truncated_normal(0.02)


class Patches(nn.Module):
    """The embedding of patches: a convolution (proj) as wide as its stride, so one product."""

    dim: int
    patch: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n patches c"]:
        n, h, w, channels = x.shape
        size = self.patch
        kernel = self.param("kernel", _init, (size, size, channels, self.dim))
        bias = self.param("bias", nn.initializers.zeros, (self.dim,))
        x = x.reshape(n, h // size, size, w // size, size, channels).swapaxes(2, 3)
        x = x.reshape(n, -1, size * size * channels).astype(self.dtype)
        x = x @ kernel.reshape(-1, self.dim).astype(self.dtype)
        return x.astype(jnp.float32) + bias.reshape(1, 1, -1)


class Attention(nn.Module):
    """Self-attention: q, k, v and proj. `key_bias` false: k has none (DINOv3)."""

    heads: int
    key_bias: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t c"], turn: tuple[Array, Array] | None
    ) -> Float[Array, "n t c"]:
        def project(name: str, use_bias: bool = True) -> nn.Dense:
            dense = functools.partial(nn.Dense, kernel_init=_init, dtype=self.dtype)
            return dense(x.shape[-1], use_bias=use_bias, name=name)

        q, k, v = (
            project(name, name != "k" or self.key_bias)(x).reshape(*x.shape[:2], self.heads, -1)
            for name in "qkv"
        )
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return project("proj")(attend(q, k, v).reshape(x.shape))


def attend(
    q: Float[Array, "n t heads c"], k: Float[Array, "n t heads c"], v: Float[Array, "n t heads c"]
) -> Float[Array, "n t heads c"]:
    """Scaled dot product attention with a softmax in float32.

    On a CPU one head of one image at a time: two to three times as fast as all at once, and one
    matrix of tokens x tokens in memory where all heads and images would have one each.
    """
    return jax.lax.platform_dependent(
        q, k, v, cpu=_head_by_head, default=jax.nn.dot_product_attention
    )


def _head_by_head(q: Array, k: Array, v: Array) -> Array:
    n, t, heads, c = q.shape
    if isinstance(n, int):  # exported models leave the number of images open, and loop over heads
        q, k, v = (jnp.moveaxis(x, 2, 1).reshape(n * heads, 1, t, c) for x in (q, k, v))
    else:
        q, k, v = (jnp.moveaxis(x, 2, 0) for x in (q, k, v))

    def one(qkv: tuple[Array, Array, Array]) -> Array:
        return jax.nn.dot_product_attention(*(x[:, :, None] for x in qkv))[:, :, 0]

    y = jax.lax.map(one, (q, k, v))
    if isinstance(n, int):
        return jnp.moveaxis(y.reshape(n, heads, t, c), 1, 2)
    return jnp.moveaxis(y, 0, 2)


class MLP(nn.Module):
    """fc1, exact GELU, fc2; or with `gated` SwiGLU: w3(silu(w1 x) * w2 x)."""

    hidden: int
    gated: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n t c"]) -> Float[Array, "n t c"]:
        dense = functools.partial(nn.Dense, kernel_init=_init, dtype=self.dtype)
        if self.gated:
            y = nn.silu(dense(self.hidden, name="w1")(x)) * dense(self.hidden, name="w2")(x)
        else:
            y = nn.gelu(dense(self.hidden, name="fc1")(x), approximate=False)
        return dense(x.shape[-1], name="w3" if self.gated else "fc2")(y)


class LayerScale(nn.Module):
    """A factor `gamma` per channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        gamma = self.param("gamma", nn.initializers.ones, x.shape[-1:], jnp.float32)
        return x.astype(jnp.float32) * gamma.reshape((1,) * (x.ndim - 1) + (-1,))


class Block(nn.Module):
    """Attention and MLP, each behind a norm, scaled by channel and added: float32 in, float32 out."""

    heads: int
    hidden: int
    gated: bool
    key_bias: bool
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "n t c"], turn: tuple[Array, Array] | None
    ) -> Float[Array, "n t c"]:
        norm = functools.partial(layer_norm, self.epsilon)
        attention = Attention(self.heads, self.key_bias, self.dtype, name="attn")
        mlp = MLP(self.hidden, self.gated, self.dtype, name="mlp")
        x = x + LayerScale(name="ls1")(attention(norm("norm1")(x), turn))
        return x + LayerScale(name="ls2")(mlp(norm("norm2")(x)))


def layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    """In float32, the variance from the differences: E[x^2] - E[x]^2 loses what PyTorch keeps."""
    return nn.LayerNorm(epsilon, dtype=jnp.float32, use_fast_variance=False, name=name)


class ViT(nn.Module):
    """A vision transformer. Returns the map after the last block, and {block0, ..., cls, registers}.

    Maps are [..., rows, cols, dim] with a cell per patch; `cls` is [..., dim], `registers` is
    [..., registers, dim]. All are float32 and behind the final norm (get_intermediate_layers of the
    released code), unless `normed` is off, which leaves block0, block1, ... as they are.
    Under jax.jit what is not used is not computed: a block's map costs the blocks up to it.

    Names: patch_embed, cls_token, pos_embed, register_tokens (DINOv3's code: storage_tokens),
    blocks_0 {norm1, attn {q, k, v, proj}, ls1, norm2, mlp {fc1, fc2 or w1, w2, w3}, ls2}, norm.

    Attributes:
      dim: channels.
      depth: blocks.
      heads: of the attention.
      hidden: channels inside an MLP; 0: four times `dim`.
      gated: SwiGLU instead of GELU.
      patch: pixels along a patch.
      grid: patches along a side of the table of positions; 0: rotary positions.
      antialias, offset: how the table is resized to other grids; see layers.positions.bicubic.
      registers: further tokens.
      key_bias: whether k has a bias.
      epsilon: of the norms.
      normed: whether the blocks' maps go through the final norm.
      last_norm: whether the map that is returned does.
      dtype: compute type of the products; norms, softmax and the sum of the blocks are float32.
      remat: whether the gradient computes each block again instead of keeping its activations.

    Raises:
      ValueError: an image whose sides are no multiples of `patch`.
    """

    dim: int
    depth: int
    heads: int
    hidden: int = 0
    gated: bool = False
    patch: int = 14
    grid: int = 37
    antialias: bool = False
    offset: float = 0.1
    registers: int = 0
    key_bias: bool = True
    epsilon: float = 1e-6
    normed: bool = True
    last_norm: bool = True
    dtype: Any = jnp.float32
    remat: bool = False

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.patch

    @property
    def first_center(self) -> float:
        """Where the middle of the first cell lies, in pixels from the first pixel."""
        return (self.patch - 1) / 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w 3"], *, train: bool = False
    ) -> tuple[Float[Array, "*b rows cols c"], dict[str, Array]]:
        del train  # nothing differs: no dropout, no running averages
        lead, (h, w) = x.shape[:-3], x.shape[-3:-1]
        if h % self.patch or w % self.patch or not h or not w:
            near = " x ".join(str(max(1, round(n / self.patch)) * self.patch) for n in (h, w))
            raise ValueError(
                f"an image of {h} x {w} pixels; this backbone takes multiples of {self.patch}: "
                f"resize or crop to {near}"
            )
        rows, cols = h // self.patch, w // self.patch
        x = Patches(self.dim, self.patch, self.dtype, name="patch_embed")(x.reshape(-1, h, w, 3))
        x, turn = self._tokens(x, rows, cols), None
        first = 1 + self.registers
        if not self.grid:
            turn = rotation(rows, cols, first, self.dim // self.heads)

        block = nn.remat(Block) if self.remat else Block
        hidden = self.hidden or 4 * self.dim
        norm = layer_norm(self.epsilon, "norm")
        features, y = {}, x
        for index in range(self.depth):
            form = (self.heads, hidden, self.gated, self.key_bias, self.epsilon, self.dtype)
            x = block(*form, name=f"blocks_{index}")(x, turn)
            y = norm(x)
            found = (y if self.normed else x)[:, first:]
            features[f"block{index}"] = found.reshape(*lead, rows, cols, self.dim)
        features["cls"] = y[:, 0].reshape(*lead, self.dim)
        features["registers"] = y[:, 1:first].reshape(*lead, self.registers, self.dim)
        y = y if self.last_norm else x
        return y[:, first:].reshape(*lead, rows, cols, self.dim), features

    def _tokens(self, x: Array, rows: int, cols: int) -> Float[Array, "n t c"]:
        """Class token, registers and patches in a row, positions added where they have a table."""
        dim = self.dim
        cls = self.param("cls_token", _init, (1, 1, dim))
        if self.grid:
            table = self.param("pos_embed", _init, (1, 1 + self.grid**2, dim))
            cls, places = cls + table[:, :1], table[:, 1:]
            if (rows, cols) != (self.grid, self.grid):
                down, across = (
                    bicubic(self.grid, n, antialias=self.antialias, offset=self.offset)
                    for n in (rows, cols)
                )
                places = places.reshape(self.grid, self.grid, dim)
                places = jnp.einsum(
                    "hwc,rh,kw->rkc", places, jnp.float32(down), jnp.float32(across)
                )
            x = x + places.reshape(1, rows * cols, dim)
        first = [cls]
        if self.registers:  # after the positions: they have none
            first.append(self.param("register_tokens", _init, (1, self.registers, dim)))
        first = jnp.concatenate(first, 1)
        return jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], *first.shape[1:])), x], 1)


_DINOV2 = {
    "s": {"dim": 384, "depth": 12, "heads": 6},
    "b": {"dim": 768, "depth": 12, "heads": 12},
    "l": {"dim": 1024, "depth": 24, "heads": 16},
    "g": {"dim": 1536, "depth": 40, "heads": 24, "hidden": 4096, "gated": True},
}
# Positions of the models with registers are resized with antialiasing and the exact scale.
_REGISTERS = {"registers": 4, "antialias": True, "offset": 0.0}
_DINOV3 = {"patch": 16, "grid": 0, "registers": 4, "key_bias": False, "epsilon": 1e-5}

# By the names of the released code (torch.hub).
VARIANTS = {
    **{f"dinov2_vit{size}14": functools.partial(ViT, **form) for size, form in _DINOV2.items()},
    **{
        f"dinov2_vit{size}14_reg": functools.partial(ViT, **form, **_REGISTERS)
        for size, form in _DINOV2.items()
    },
    "dinov3_vits16": functools.partial(ViT, **_DINOV2["s"], **_DINOV3),
    "dinov3_vits16plus": functools.partial(ViT, **_DINOV2["s"], **_DINOV3, hidden=1536, gated=True),
    "dinov3_vitb16": functools.partial(ViT, **_DINOV2["b"], **_DINOV3),
    "dinov3_vitl16": functools.partial(ViT, **_DINOV2["l"], **_DINOV3),
    "dinov3_vith16plus": functools.partial(
        ViT, dim=1280, depth=32, heads=20, hidden=5120, gated=True, **_DINOV3
    ),
}


def last_norm(epsilon: float) -> Tail:
    """What may be tuned by itself: a block attends to tokens that are in no map, the norm does not.

    Where a BatchNorm follows, as in fine-tuning, it takes up what the norm's scale and shift change.
    """
    norm = functools.partial(nn.LayerNorm, epsilon, use_fast_variance=False, parent=None)
    return Tail(("norm",), {"last_norm": False}, lambda method: norm())


BACKBONES = {
    name: Backbone(
        network=make,
        stride=make.keywords.get("patch", 14),
        channels=make.keywords["dim"],
        covering=functools.partial(of_one_width, make),
        compared=(f"block{make.keywords['depth'] - 1}",),  # INSID3's and FSSDINO's choice
        takes=("remat",),
        tail=last_norm(make.keywords.get("epsilon", 1e-6)),
    )
    for name, make in VARIANTS.items()
}
