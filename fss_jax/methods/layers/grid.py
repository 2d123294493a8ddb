"""Frozen features of several strides on one grid of cells, and masks on the same grid."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fss_jax.methods.layers import interpolation, unit

Grid = tuple[int, int]


def area(size: int, out: int) -> np.ndarray:
    """[out, size]: the mean over each of `out` equal parts of an axis; a pixel may be shared."""
    edges = np.arange(out + 1) * (size / out)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None]
    return np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None) * (out / size)


def resampled(x: Float[Array, "*b h w c"], grid: Grid) -> Float[Array, "*b rows cols c"]:
    """Means where the grid is coarser than the map, bilinear interpolation where it is finer."""
    for axis, out in ((-3, grid[0]), (-2, grid[1])):
        size = x.shape[axis]
        if size == out:
            continue
        weights = area(size, out) if size > out else interpolation(size, out, align_corners=False)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(weights, x.dtype), x, (1, axis)), 0, axis)
    return x


def shares(
    mask: Float[Array, "*b h w"], grid: Grid
) -> tuple[Float[Array, "*b rows cols"], Float[Array, "*b rows cols"]]:
    """Which part of each cell is object, and which is background; undecided pixels are neither.

    Args:
      mask: 1 object, 0 background, negative undecided; between 0 and 1 a pixel that is both.
    """
    decided = (mask >= 0).astype(jnp.float32)
    inside = jnp.clip(mask, 0.0, 1.0) * decided
    both = resampled(jnp.stack([inside, decided - inside], -1), grid)
    return both[..., 0], both[..., 1]


def joined(maps: Sequence[Float[Array, "*b _h _w _c"]], grid: Grid) -> Float[Array, "*b cells c"]:
    """Maps of several strides on one grid, channels in a row: a product of two cells is the mean of
    the levels' cosines where each level has unit length."""
    parts = [resampled(x, grid) for x in maps]
    x = jnp.concatenate(parts, -1) / np.sqrt(len(maps)).astype(np.float32)
    return x.reshape(*x.shape[:-3], -1, x.shape[-1])


def projected(
    maps: Sequence[Float[Array, "*b _h _w _c"]],
    basis: Float[Array, "c d"],
    center: Float[Array, "d"],
    grid: Grid,
) -> Float[Array, "*b cells d"]:
    """`joined` cells times a basis, minus a center, of unit length.

    The product comes before the interpolation, which it commutes with: a level of stride 32 has
    sixteen times fewer cells than the grid. Levels of one stride are one product.
    """
    alike: dict[Grid, list[tuple[Array, Array]]] = {}
    start = 0
    for x in maps:
        rows = basis[start : start + x.shape[-1]] / np.sqrt(len(maps)).astype(np.float32)
        start += x.shape[-1]
        if x.shape[-3] * x.shape[-2] > grid[0] * grid[1]:
            x = resampled(x, grid)
        alike.setdefault(x.shape[-3:-1], []).append((x, rows))
    total = 0.0
    for levels in alike.values():
        x, rows = (
            jnp.concatenate(of, axis)
            for of, axis in zip(zip(*levels, strict=True), (-1, 0), strict=True)
        )
        total += resampled((x.reshape(-1, x.shape[-1]) @ rows).reshape(*x.shape[:-1], -1), grid)
    total = total.reshape(*total.shape[:-3], -1, total.shape[-1])
    return unit(total - center.reshape((1,) * (total.ndim - 1) + center.shape))
