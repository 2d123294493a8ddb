"""Pixels inside the compiled step: normalize, warp, mask, and put a result back at its true size.

Everything is pure jnp with static shapes. An image lies in the top-left corner of a fixed canvas and
its true size is a traced value, so one compiled function serves images of every size.
"""

import dataclasses
import difflib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

VOID = 255  # label maps: undecided pixels
EXACT = jax.lax.Precision.HIGHEST  # a coordinate rounded to TF32 is pixels off


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


def _bilinear(length: int, size: Int[Array, ""], out: int) -> Float[Array, "out length"]:
    """Rows of interpolation weights that stretch `size` of `length` pixels over `out` pixels.

    scikit-image's `resize` at order 1 as the OSLSM release uses it: half-pixel centers, no
    anti-aliasing, and beyond the border the weights do not sum to one (a constant border).
    """
    source = (jnp.arange(out) + 0.5) * (size / out) - 0.5
    index = jnp.arange(length)
    weight = jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - index[None, :]))
    return jnp.where(index[None, :] < size, weight, 0.0)


def warp(
    image: UInt8[Array, "s t 3"], size: Int[Array, "2"], out: int, fill: tuple[float, float, float]
) -> Float[Array, "out out 3"]:
    """Stretches the true part of a canvas to a square, aspect ratio ignored (protocols.md A.4).

    Args:
      image: RGB canvas.
      size: true (height, width), in the canvas's top-left corner.
      out: side of the result in pixels.
      fill: color of the border, RGB in 0..255 (the mean: zero once normalized).
    """
    rows = _bilinear(image.shape[0], size[0], out)
    cols = _bilinear(image.shape[1], size[1], out)
    warped = jnp.einsum("oh,hwc,pw->opc", rows, image.astype(jnp.float32), cols, precision=EXACT)
    missing = 1.0 - rows.sum(1)[:, None] * cols.sum(1)[None, :]
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

    def weights(length: int, size: Int[Array, ""]) -> Float[Array, "canvas length"]:
        source = (jnp.arange(canvas) + 0.5) * (length / size) - 0.5
        source = jnp.clip(source, 0.0, length - 1.0)
        return jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(length)[None, :]))

    rows, cols = weights(values.shape[0], size[0]), weights(values.shape[1], size[1])
    return jnp.einsum("oh,hw,pw->op", rows, values, cols, precision=EXACT)
