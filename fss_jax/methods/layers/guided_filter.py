"""The guided filter (He, Sun and Tang 2013): a map takes over the edges of a color image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def box_mean(x: Float[Array, "*b h w"], radius: int) -> Float[Array, "*b h w"]:
    """The mean over the (2 radius + 1)^2 window around each pixel, as far as the image reaches."""
    for axis in (x.ndim - 2, x.ndim - 1):
        size = x.shape[axis]
        index = np.arange(size)
        count = np.minimum(index + radius, size - 1) - np.maximum(index - radius, 0) + 1
        shape = [1] * x.ndim
        shape[axis] = size
        x = _window_sum(x, axis, radius) * (1 / count).astype(np.float32).reshape(shape)
    return x


def _window_sum(x: Array, axis: int, radius: int) -> Array:
    """Sums of 2 radius + 1 neighbors, by sums of 1, 2, 4, 8, ... of them.

    Barriers keep XLA from writing every sum out again: it would fuse them into one loop of all
    terms. Cumulative sums take ten times as long on a CPU, and lose digits.
    """
    size, length = x.shape[axis], 2 * radius + 1
    pads = [(0, 0)] * x.ndim
    pads[axis] = (radius, radius)
    x = jnp.pad(x, pads)
    total, start, width = None, 0, 1
    while length:
        if length & 1:
            part = jax.lax.slice_in_dim(x, start, start + size, axis=axis)
            total = part if total is None else total + part
            start += width
        length >>= 1
        if length:
            n = x.shape[axis]
            x = jax.lax.optimization_barrier(
                jax.lax.slice_in_dim(x, 0, n - width, axis=axis)
                + jax.lax.slice_in_dim(x, width, n, axis=axis)
            )
            width *= 2
    return jax.lax.optimization_barrier(total)


def coefficients(
    image: Float[Array, "3 *b h w"], x: Float[Array, "*b h w"], radius: int, epsilon: float
) -> Float[Array, "4 *b h w"]:
    """Slopes by red, green and blue and an offset at each pixel, averaged over its windows."""
    color = list(image)
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    moments = [*color, x, *(color[i] * color[j] for i, j in pairs), *(c * x for c in color)]
    mean = box_mean(jnp.stack(moments), radius)
    m, level = mean[:3], mean[3]
    rr, rg, rb, gg, gb, bb = (mean[4 + n] - m[i] * m[j] for n, (i, j) in enumerate(pairs))
    r, g, b = (mean[10 + i] - m[i] * level for i in range(3))
    rr, gg, bb = rr + epsilon, gg + epsilon, bb + epsilon
    # A symmetric 3x3 matrix's inverse by its adjugate: a batched solver is slow on CPUs.
    a_rr, a_rg, a_rb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    a_gg, a_gb, a_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1.0 / (rr * a_rr + rg * a_rg + rb * a_rb)
    slope = [
        scale * (a_rr * r + a_rg * g + a_rb * b),
        scale * (a_rg * r + a_gg * g + a_gb * b),
        scale * (a_rb * r + a_gb * g + a_bb * b),
    ]
    offset = level - sum(slope[i] * m[i] for i in range(3))
    return box_mean(jnp.stack([*slope, offset]), radius)


def halved(x: Float[Array, "*b h w"]) -> Float[Array, "*b rows cols"]:
    """Means of 2 x 2 pixels; an odd side's last pixel stands twice."""
    pads = [(0, 0)] * (x.ndim - 2) + [(0, n % 2) for n in x.shape[-2:]]
    x = jnp.pad(x, pads, mode="edge")
    x = x[..., ::2, :] + x[..., 1::2, :]
    return (x[..., ::2] + x[..., 1::2]) / 4


def doubled(x: Float[Array, "*b rows cols"], size: tuple[int, int]) -> Float[Array, "*b h w"]:
    """Bilinear, pixels being squares; cut to `size`, which `halved` came from."""
    for axis, length in ((x.ndim - 2, size[0]), (x.ndim - 1, size[1])):
        n = x.shape[axis]
        pads = [(0, 0)] * x.ndim
        pads[axis] = (1, 1)
        wide = jnp.pad(x, pads, mode="edge")
        before = jax.lax.slice_in_dim(wide, 0, n, axis=axis)
        after = jax.lax.slice_in_dim(wide, 2, n + 2, axis=axis)
        x = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = x.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 2 :])
        x = jax.lax.slice_in_dim(x, 0, length, axis=axis)
    return x


def guided_filter(
    image: Float[Array, "*b h w 3"],
    x: Float[Array, "*b h w"],
    *,
    radius: int = 6,
    epsilon: float = 1e-3,
    halvings: int = 1,
) -> Float[Array, "*b h w"]:
    """In each window the map becomes the affine function of color that is closest to it.

    Args:
      image: RGB in 0..1.
      x: what to filter, such as a probability; the result may exceed its range a little.
      radius: of the window, in pixels.
      epsilon: color variance below which a window counts as flat, and is only smoothed.
      halvings: the functions are found on an image halved so often, and interpolated (He and Sun
        2015, "Fast guided filter").
    """
    size = x.shape[-2:]
    one = functools.partial(_filtered, radius=radius, epsilon=epsilon, halvings=halvings)
    # One after another: the planes of one image stay in a CPU's cache, those of eight take three
    # times as long.
    found = jax.lax.map(lambda of: one(*of), (image.reshape(-1, *size, 3), x.reshape(-1, *size)))
    return found.reshape(x.shape)


def _filtered(
    image: Float[Array, "h w 3"], x: Float[Array, "h w"], radius: int, epsilon: float, halvings: int
) -> Float[Array, "h w"]:
    image = jnp.moveaxis(image, -1, 0)  # channels first: rows are what CPUs add up fast
    planes, sizes = jnp.concatenate([image, x[None]]), []
    for _ in range(halvings):
        sizes.append(planes.shape[-2:])
        planes = halved(planes)
    found = coefficients(planes[:3], planes[3], max(1, radius >> halvings), epsilon)
    for size in reversed(sizes):
        found = doubled(found, size)
    # Term by term: a sum over the leading axis takes XLA's CPU code ten times as long.
    return found[0] * image[0] + found[1] * image[1] + found[2] * image[2] + found[3]
