"""Pixels inside the compiled step: normalize, warp, mask, and put a result back at its true size.

Everything is pure jnp with static shapes. An image lies in the top-left corner of a fixed canvas and
its true size is a traced value, so one compiled function serves images of every size.
"""

import dataclasses
import difflib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

VOID = 255  # label maps: undecided pixels


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a set of weights expects of its images.

    Attributes:
      mean: subtracted, RGB order, in 0..255. It is also the color of masked-out pixels and borders.
      std: divided by, RGB order, in 0..255.
      bgr: whether channels are handed over in BGR order.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False


PREPROCESSING = {
    # Caffe's VGG models, and OSLSM's released code (protocols.md A.4).
    "caffe": Preprocessing((122.67891434, 116.66876762, 104.00698793), (1.0, 1.0, 1.0), bgr=True),
    # keras.applications' VGG and ResNet: the VGG authors' own mean, which differs by up to 1.
    "vgg": Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), bgr=True),
    "torchvision": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # keras.applications inception_v3: [-1, 1].
    "tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    # The FSS-1000 release: RGB / 255 (protocols.md B.1).
    "unit": Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    # About unit variance, for training from scratch.
    "centered": Preprocessing((127.5, 127.5, 127.5), (63.75, 63.75, 63.75)),
}


def preprocessing(name: str) -> Preprocessing:
    """The entry of PREPROCESSING of that name; ValueError names the known ones."""
    if name not in PREPROCESSING:
        close = difflib.get_close_matches(name, PREPROCESSING, 1)
        raise ValueError(
            f"unknown preprocessing {name!r}; expected one of {', '.join(PREPROCESSING)}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    return PREPROCESSING[name]


def normalize(image: Float[Array, "*b h w 3"], name: str) -> Float[Array, "*b h w 3"]:
    """Turns RGB in 0..255 into what the weights of preprocessing `name` expect."""
    spec = preprocessing(name)
    image = (
        image - jnp.asarray(spec.mean, image.dtype).reshape((1,) * (image.ndim - 1) + (3,))
    ) * (1.0 / jnp.asarray(spec.std, image.dtype)).reshape((1,) * (image.ndim - 1) + (3,))
    return image[..., ::-1] if spec.bgr else image


def _taps(source: Float[Array, "out"], size: Array | int) -> list[tuple[Array, Array]]:
    """The two pixels beside each place of an axis and their weights; zero outside of `size`."""
    below = jnp.floor(source)
    index = below.astype(jnp.int32)
    taps = [(index, below + 1.0 - source), (index + 1, source - below)]
    return [(i, jnp.where((i >= 0) & (i < size), weight, 0.0)) for i, weight in taps]


def _at(x: Shaped[Array, "n *rest"], taps: list[tuple[Array, Array]]) -> Float[Array, "out *rest"]:
    """Interpolates along the first axis, whose rows lie in one piece.

    A product with a matrix of the weights, nearly all of them zeros, takes a CPU thirty times as long.
    """
    last = x.shape[0] - 1
    parts = [
        x[i.clip(0, last)].astype(jnp.float32) * jnp.expand_dims(weight, range(1, x.ndim))
        for i, weight in taps
    ]
    return jax.lax.optimization_barrier(parts[0] + parts[1])  # else each use computes it again


def warp(
    image: UInt8[Array, "s t 3"], size: Int[Array, "2"], out: int, fill: tuple[float, float, float]
) -> Float[Array, "out out 3"]:
    """Stretches the true part of a canvas to a square, aspect ratio ignored (protocols.md A.4).

    scikit-image's `resize` at order 1 as the OSLSM release uses it: half-pixel centers, no
    anti-aliasing, and beyond the border the weights do not sum to one (a constant border).

    Args:
      image: RGB canvas.
      size: true (height, width), in the canvas's top-left corner.
      out: side of the result in pixels.
      fill: color of the border, RGB in 0..255 (the mean: zero once normalized).
    """
    middle = jnp.arange(out) + 0.5
    rows, cols = (_taps(middle * (size[axis] / out) - 0.5, size[axis]) for axis in (0, 1))
    warped = _at(_at(image, rows).swapaxes(0, 1), cols).swapaxes(0, 1)
    there = [taps[0][1] + taps[1][1] for taps in (rows, cols)]
    missing = 1.0 - there[0][:, None] * there[1][None, :]
    return warped + missing[..., None] * jnp.asarray(fill).reshape(1, 1, 3)


def warp_label(
    label: UInt8[Array, "s t"], size: Int[Array, "2"], out: int
) -> UInt8[Array, "out out"]:
    """`warp` for a label map: the nearest pixel, the later one of a tie.

    In integers: float32 falls short of the ties of some sizes (896 to 96), on some devices only.
    """
    center = 2 * jnp.arange(out) + 1  # in halves of a result's pixel
    rows, cols = (center * size[axis] // (2 * out) for axis in (0, 1))
    return label[rows][:, cols]


def inside(size: Int[Array, "2"], canvas: int) -> Bool[Array, "canvas canvas"]:
    """Which pixels of a canvas belong to an image of this true size."""
    index = jnp.arange(canvas)
    return (index < size[0])[:, None] & (index < size[1])[None, :]


def unwarp(
    values: Float[Array, "h w"], size: Int[Array, "2"], canvas: int
) -> Float[Array, "canvas canvas"]:
    """Stretches a map that covers an image back over its true size on a canvas.

    The inverse of `warp`, bilinear with repeated edges; pixels outside the true size are meaningless.
    """

    middle = jnp.arange(canvas) + 0.5

    def taps(axis: int) -> list[tuple[Array, Array]]:
        length = values.shape[axis]
        return _taps(jnp.clip(middle * (length / size[axis]) - 0.5, 0.0, length - 1.0), length)

    return _at(_at(values, taps(0)).T, taps(1)).T
