"""Opens anybody's picture files: complete, upright and of a bounded size, or one clear error."""

import functools
import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

# EPS would run Ghostscript. MPO are the JPEGs of telephones; HEIF is pillow-heif's, where it is there.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # brands
TURNS = {  # EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ValueError(f"{name} cannot be read ({error.strerror})") from error
        return open_picture(data, name, max_pixels)
    if isinstance(source, Image.Image):
        return _decoded(source, name, max_pixels)
    data = source if isinstance(source, bytes) else source.read()
    try:
        return _decoded(_open_header(io.BytesIO(data), name), name, max_pixels)
    except TooLarge:
        raise
    except ValueError:
        # Damaged metadata may have tripped the decoder over pixels that are whole.
        bare = _without_metadata(data)
        if bare is None:
            raise
        try:
            return _decoded(_open_header(io.BytesIO(bare), name), name, max_pixels)
        except ValueError:
            pass
        raise


class TooLarge(ValueError):
    """More pixels than are allowed."""


def _decoded(picture: Image.Image, name: str, max_pixels: int) -> Image.Image:
    if picture.width * picture.height > max_pixels:
        raise TooLarge(
            f"{name} has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{max_pixels} that are read at once; crop it, or cut it into tiles and give those"
        )
    try:
        with warnings.catch_warnings():  # of metadata; what pixels lack is an error
            warnings.simplefilter("ignore")
            picture.load()
        turn = TURNS.get(orientation(picture))
        return picture if turn is None else picture.transpose(turn)
    except Exception as error:  # decoders raise whatever they trip over
        raise ValueError(f"{name} is damaged or cut short ({error})") from error


def _open_header(source: io.IOBase, name: str) -> Image.Image:
    # Pillow's own limit is a global that warns from half of it on; ours replaces it for this call.
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            if _is_heif(source) and not _heif_opener():
                raise ValueError(f"{name} is HEIC; pip install pillow-heif, and it is read")
            with warnings.catch_warnings():  # of metadata
                warnings.simplefilter("ignore")
                return Image.open(source, formats=[f for f in FORMATS if f in _known()])
        except ValueError as error:
            if str(error).startswith(f"{name} is HEIC"):
                raise
            raise ValueError(f"{name} is not a picture that can be read") from error
        except Exception as error:
            raise ValueError(f"{name} is not a picture that can be read") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def is_plain(data: bytes) -> bool:
    """Whether any decoder shows a file (that `open_picture` accepts) alike: a JPEG or PNG of 8-bit
    RGB or gray, stored upright, without transparency.
    """
    picture = _open_header(io.BytesIO(data), "picture")
    upright = orientation(picture) not in TURNS
    usual = picture.format in ("JPEG", "PNG") and picture.mode in ("RGB", "L")
    return usual and upright and not has_alpha(picture)


def orientation(picture: Image.Image) -> int:
    """How EXIF says that a picture is turned, 1 to 8; 1 where it says nothing that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = picture.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value)
    except Exception:  # parsers of metadata raise whatever they trip over
        return 1


def upright_size(path: Path) -> tuple[tuple[int, int], bool]:
    """([height, width] of a picture file as `open_picture` gives it, whether EXIF swapped them).

    Only the header is read.

    Raises:
      ValueError: it is no picture.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    try:
        picture = _open_header(io.BytesIO(data), str(path))
    except ValueError:
        bare = _without_metadata(data)
        if bare is None:
            raise
        picture = _open_header(io.BytesIO(bare), str(path))
    turned = orientation(picture) >= 5 and orientation(picture) in TURNS
    width, height = picture.size[::-1] if turned else picture.size
    return (height, width), turned


@functools.cache
def _known() -> frozenset[str]:
    Image.init()
    return frozenset(Image.OPEN)


@functools.cache
def _heif_opener() -> bool:
    """Makes Pillow read HEIC, if pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    _known.cache_clear()
    return True


def _is_heif(source: io.IOBase) -> bool:
    head = source.read(12)
    source.seek(0)
    return head[4:8] == b"ftyp" and head[8:12] in HEIF


def _without_metadata(data: bytes) -> bytes | None:
    """A JPEG without its APP and COM segments, a PNG without chunks that pixels do not need."""
    if data[:2] == b"\xff\xd8":
        kept, at = [data[:2]], 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            marker = data[at + 1]
            # APP0 and APP14 (Adobe's) say how colors are stored.
            if not (0xE0 < marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
                kept.append(data[at:end])
            at = end
        return b"".join([*kept, data[at:]])
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        kept, at = [data[:8]], 8
        while at + 12 <= len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            if not data[at + 4] & 32 or data[at + 4 : at + 8] == b"tRNS":
                kept.append(data[at:end])
            at = end
        return b"".join(kept)
    return None


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


def to_gray8(values: np.ndarray, name: str = "the picture") -> np.ndarray:
    """A deep gray image as 8 bits: what holds 10, 12 or 14 bits is stretched to the whole range.

    Raises:
      ValueError: a value is negative, not finite, or beyond 65535.
    """
    try:
        if values.dtype.kind in "iu" and values.size and 255 < values.max() < 16384:
            if values.min() < 0:
                raise ValueError("pixel values must lie in 0..65535")
            bits = 10 if values.max() < 1024 else 12 if values.max() < 4096 else 14
            return (values >> (bits - 8)).astype(np.uint8)
        return to_uint8(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}, and go from {values.min()} to {values.max()}") from None


def to_rgb(picture: Image.Image, name: str = "the picture") -> np.ndarray:
    """A picture of any mode as RGB; what is transparent becomes white.

    Raises:
      ValueError: deep values that are no gray levels.

    Returns:
      uint8 [H, W, 3].
    """
    if picture.mode.startswith(("I", "F")):
        picture = Image.fromarray(to_gray8(np.asarray(picture), name))
    if has_alpha(picture):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))
