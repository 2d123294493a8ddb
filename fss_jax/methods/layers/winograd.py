"""3x3 convolutions on CPUs by Winograd's minimal filtering: 16 products where 36 would be needed.

Lavin and Gray 2016 (arXiv 1509.09308), F(2x2, 3x3): each tile of 4x4 inputs gives 2x2 outputs. The
convolution, and both its gradients, become matrix products of whole maps, between sums of a few
slices each. GPUs and TPUs keep XLA's convolution.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The transforms of a tile's inputs, its kernel and its outputs along an axis (equations 6 and 7).
_IN = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2
_OUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])

Grid = list[list[Array]]  # arrays by row and column of a tile


def pays_off(x: Array, kernel: Array) -> bool:
    """Whether to take `conv3x3`: for 3x3 kernels of 128 channels and more, in float32."""
    *size, inputs, features = kernel.shape
    return size == [3, 3] and min(inputs, features) >= 128 and x.dtype == jnp.float32


@jax.custom_vjp
def conv3x3(
    x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c features"]
) -> Float[Array, "b h w features"]:
    """A convolution without stride, one zero around the image.

    Which parts are Winograd's was measured inside whole networks on two cores: the gradients, where
    XLA is slowest, and the convolution of maps that are large beside a large kernel.
    """
    b, h, w, _ = x.shape
    images = b if isinstance(b, int) else 1  # fss_jax.export.stablehlo leaves their number open
    if min(kernel.shape[2:]) < 256 or images * h * w < 28 * 28:
        return _plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=tiled, default=_plain)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _backward(known: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    def plain(x, kernel, slope):
        return jax.vjp(_plain, x, kernel)[1](slope)

    return jax.lax.platform_dependent(*known, slope, cpu=_gradients, default=plain)


conv3x3.defvjp(_forward, _backward)


def _plain(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def tiled(x: Array, kernel: Array, kernel_axis: int = 0) -> Array:
    """`conv3x3` tile by tile; with `kernel_axis` 1 it contracts the kernel's outputs, not its inputs."""
    b, h, w, _ = x.shape
    down, across = _tiles(h, w)
    products = _products(
        _cut(x), _transform(_KERNEL, [list(row) for row in kernel]), (1, kernel_axis)
    )
    outputs = _transform(_OUT, products)
    outputs = [[y.reshape(b, down, across, -1) for y in row] for row in outputs]
    y = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
    return y.reshape(b, 2 * down, 2 * across, -1)[:, :h, :w]


def _gradients(x: Array, kernel: Array, slope: Array) -> tuple[Array, Array]:
    """Of the input, a convolution too, and of the kernel: each transform's adjoint is its transpose."""
    b, h, w, features = slope.shape
    down, across = _tiles(h, w)
    of_input = tiled(slope, kernel[::-1, ::-1], kernel_axis=1)
    slope = jnp.pad(slope, ((0, 0), (0, 2 * down - h), (0, 2 * across - w), (0, 0)))
    slope = slope.reshape(b, down, 2, across, 2, features)
    slopes = [[slope[:, :, i, :, j].reshape(-1, features) for j in (0, 1)] for i in (0, 1)]
    products = _products(_cut(x), _transform(_OUT.T, slopes), (0, 0))
    of_kernel = _transform(_KERNEL.T, products)
    return of_input, jnp.stack([jnp.stack(row) for row in of_kernel])


def _cut(x: Array) -> Grid:
    """The transformed tiles' 4 x 4 places, each [tile, channel]."""
    b, h, w, channels = x.shape
    down, across = _tiles(h, w)
    x = jnp.pad(x, ((0, 0), (1, 2 * down + 1 - h), (1, 2 * across + 1 - w), (0, 0)))
    x = x.reshape(b, down + 1, 2, across + 1, 2, channels)

    def place(i, j):
        return x[:, i // 2 : i // 2 + down, i % 2, j // 2 : j // 2 + across, j % 2]

    places = [[place(i, j) for j in range(4)] for i in range(4)]
    return [[v.reshape(-1, channels) for v in row] for row in _transform(_IN, places)]


def _products(left: Grid, right: Grid, axes: tuple[int, int]) -> Grid:
    """Matrix products place by place, contracting an axis of each side."""
    return [
        [jnp.tensordot(a, b, (axes[:1], axes[1:])) for a, b in zip(*rows, strict=True)]
        for rows in zip(left, right, strict=True)
    ]


def _transform(matrix: np.ndarray, grid: Grid) -> Grid:
    """matrix @ grid @ matrix.T, as the few sums and differences that it is."""
    columns = list(zip(*grid, strict=True))
    grid = [[_sum(weights, column) for column in columns] for weights in matrix]
    return [[_sum(weights, row) for weights in matrix] for row in grid]


def _sum(weights: np.ndarray, values: tuple[Array, ...] | list[Array]) -> Array:
    terms = [v if w == 1 else float(w) * v for w, v in zip(weights, values, strict=True) if w]
    return sum(terms[1:], start=terms[0])


def _tiles(h: int, w: int) -> tuple[int, int]:
    return -(-h // 2), -(-w // 2)
