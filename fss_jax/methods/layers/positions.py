"""Where a patch lies: tables of positions resized to other grids, and rotary positions."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bicubic(
    size: int, out: int, *, antialias: bool = False, offset: float = 0.0
) -> Float[np.ndarray, "out size"]:
    """PyTorch's bicubic interpolation along one axis, without aligned corners, as a matrix.

    Args:
      size: samples given.
      out: samples wanted.
      antialias: PyTorch's flag: when shrinking, wider weights; always the coefficient -0.5 and
        weights that add up to 1 at the border. Without it: -0.75, and the border's sample repeats.
      offset: added to `out` where the distance of samples is computed, not where they are counted:
        DINOv2's release asks for a scale of (out + 0.1) / size.
    """
    a, step = (-0.5 if antialias else -0.75), size / (out + offset)
    spread = max(step, 1.0) if antialias else 1.0
    center = (np.arange(out) + 0.5) * step - 0.5
    reach = math.ceil(2 * spread) + 1
    taps = np.floor(center).astype(int)[:, None] + np.arange(-reach, reach + 1)
    x = np.abs(taps - center[:, None]) / spread
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weight = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    if antialias:
        weight *= (taps >= 0) & (taps < size)
    weight /= weight.sum(1, keepdims=True)
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out)[:, None], taps.clip(0, size - 1)), weight)
    return matrix


def rotation(
    rows: int, cols: int, prefix: int, width: int
) -> tuple[Float[Array, "tokens 1 width"], Float[Array, "tokens 1 width"]]:
    """Cosines and sines of DINOv3's rotary positions, of every token; no turn for the first ones.

    The centers of patches lie in [-1, 1] along each axis, whatever the grid, and turn pairs of
    channels by 2 pi y (first half) or 2 pi x times 100^(-4 j / width), j < width / 4.

    Args:
      rows, cols: the grid of patches.
      prefix: tokens before the patches (class and registers), which have no place.
      width: channels of a head; a multiple of 4.
    """
    frequency = 2 * jnp.pi * 100.0 ** (-4 / width * jnp.arange(width // 4))
    y, x = ((2 * jnp.arange(n) + 1) / n - 1 for n in (rows, cols))
    angles = jnp.stack(jnp.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2, 1)
    angles = (angles * frequency.reshape(1, 1, -1)).reshape(rows * cols, width // 2)
    angles = jnp.pad(jnp.tile(angles, 2), ((prefix, 0), (0, 0)))[:, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "n t heads width"], turn: tuple[Array, Array]) -> Array:
    """Turns channel j and j + width / 2 by the angle of `rotation`, in float32."""
    cos, sin = (part[None] for part in turn)
    y = x.astype(jnp.float32)
    first, second = jnp.split(y, 2, axis=-1)
    return (y * cos + jnp.concatenate([-second, first], -1) * sin).astype(x.dtype)
