"""Opens anybody's picture files: complete, upright and of a bounded size, or one clear error."""

import io
import threading
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # EPS would run Ghostscript
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: 512 MiB as RGB
_PILLOW_LIMIT = threading.Lock()

Source = str | Path | bytes | io.IOBase | Image.Image


def open_picture(source: Source, name: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens and fully decodes a picture (the first frame of several), turned upright.

    Args:
      source: a path, a file's bytes, an open file, or a picture that Pillow already opened.
      name: what messages call it; by default its path.
      max_pixels: a larger picture is refused before it is decoded.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no picture, damaged, truncated or too large.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "picture")
    if isinstance(source, str | Path):
        if not Path(source).is_file():
            raise FileNotFoundError(f"no file {name}")
        with Path(source).open("rb") as file:
            return open_picture(file, name, max_pixels)
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    picture = source if isinstance(source, Image.Image) else _open_header(source, name)
    if picture.width * picture.height > max_pixels:
        raise ValueError(
            f"{name} has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{max_pixels} that are read at once; crop it, or cut it into tiles and give those"
        )
    try:
        picture.load()
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # decoders raise whatever they trip over
        raise ValueError(f"{name} is damaged or cut short ({error})") from error


def _open_header(source: io.IOBase, name: str) -> Image.Image:
    # Pillow's own limit is a global that warns from half of it on; ours replaces it for this call.
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=FORMATS)
        except Exception as error:
            raise ValueError(f"{name} is not a picture that can be read") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def is_plain(data: bytes) -> bool:
    """Whether any decoder shows a file (that `open_picture` accepts) alike: a JPEG or PNG of 8-bit
    RGB or gray, stored upright, without transparency.
    """
    picture = _open_header(io.BytesIO(data), "picture")
    upright = picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
    usual = picture.format in ("JPEG", "PNG") and picture.mode in ("RGB", "L")
    return usual and upright and not has_alpha(picture)


def has_alpha(picture: Image.Image) -> bool:
    """Whether a picture has transparency, in a channel of its own or in its palette."""
    return "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Brings the values of a deep grayscale picture (16 or 32 bit, float) to 0..255.

    Floats up to 1 are scaled by 255, integers beyond 255 by 1/257 (rounded up, so that what is not
    zero stays so); everything else keeps its value.

    Args:
      values: any real dtype and shape.

    Raises:
      ValueError: a value is negative, not finite, or beyond 65535.
    """
    if values.dtype == np.uint8:
        return values
    if (
        values.size == 0
        or not np.isfinite(values).all()
        or values.min() < 0
        or values.max() > 65535
    ):
        raise ValueError("pixel values must lie in 0..65535")
    if values.max() > 255:
        return np.ceil(values / 257).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating) and values.max() <= 1:
        values = values * 255
    return np.rint(values).astype(np.uint8)


def to_rgb(picture: Image.Image) -> np.ndarray:
    """A picture of any mode as RGB; what is transparent becomes white.

    Returns:
      uint8 [H, W, 3].
    """
    if picture.mode.startswith(("I", "F")):
        picture = Image.fromarray(to_uint8(np.asarray(picture)))
    if has_alpha(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))
