import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_builders.pictures import open_picture, to_rgb, to_uint8

ROOT = Path(__file__).parents[2]
RGB = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)


def file_of(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(RGB)
    found = to_rgb(open_picture(file_of(stored, exif=exif)))
    # The EXIF standard: where row 0 and column 0 of the stored array lie in the upright picture.
    expected = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(RGB, 1),
    }[orientation]
    np.testing.assert_array_equal(found, expected)


def test_modes_give_the_same_rgb():
    gray = RGB[..., 0]
    expected = np.repeat(gray[..., None], 3, 2)
    deep = gray.astype(np.uint16) * 257
    for picture in (
        Image.fromarray(gray),
        Image.fromarray(deep),
        Image.fromarray(gray.astype(np.int32)),
        Image.fromarray(gray.astype(np.float32) / 255),
        Image.fromarray(expected).convert("RGBA"),
        Image.fromarray(np.stack([gray, np.full_like(gray, 255)], -1)),
    ):
        kind = "TIFF" if picture.mode in "IF" else "PNG"
        np.testing.assert_array_equal(to_rgb(open_picture(file_of(picture, kind))), expected)
    cmyk = Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert("CMYK")
    assert (to_rgb(open_picture(file_of(cmyk, "JPEG", quality=100))) > 250).all()


def test_what_is_transparent_becomes_white():
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:2, :, :3] = (200, 10, 30)
    rgba[:2, :, 3] = 255
    found = to_rgb(open_picture(file_of(Image.fromarray(rgba))))
    assert (found[:2] == (200, 10, 30)).all() and (found[2:] == 255).all()
    palette = Image.fromarray(np.eye(4, dtype=np.uint8)).convert("P")
    found = to_rgb(open_picture(file_of(palette, transparency=0)))
    assert (found[~np.eye(4, dtype=bool)] == 255).all() and (found[np.eye(4, dtype=bool)] < 2).all()


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "GIF"]), share=st.floats(0, 0.9))
def test_a_cut_file_is_an_error(kind, share):
    data = file_of(Image.fromarray(RGB), kind)
    with pytest.raises(ValueError) as caught:
        open_picture(data[: int(len(data) * share)], "cut.png")
    assert str(caught.value).startswith("cut.png is") and "\n" not in str(caught.value)


def test_size_limit_replaces_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # 221 pixels: over twice that, an error
    path = tmp_path / "big.png"
    path.write_bytes(file_of(Image.fromarray(RGB)))
    assert open_picture(path, max_pixels=13 * 17).size == (17, 13)
    with pytest.raises(ValueError, match="big.png has 17 x 13 pixels, .* limit of 220 .* tiles"):
        open_picture(path, max_pixels=220)
    assert Image.MAX_IMAGE_PIXELS == 50
    with pytest.raises(FileNotFoundError, match="no file"):
        open_picture(tmp_path / "absent.png")


def slide(side: int) -> bytes:
    """A TIFF whose header speaks of side x side pixels in one strip, of which nothing is there."""
    tags = {
        256: side,
        257: side,
        258: 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: side,
        279: side * side,
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, min(value, 2**32 - 1)) for tag, value in tags.items()
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4


READ = """
import resource, sys
from data_builders.pictures import open_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_picture(sys.argv[1])
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_slide_is_refused_in_a_line_and_costs_no_memory(tmp_path):
    """100,000 pixels a side, as a scanner of slides gives: 10 GB if it were decoded."""
    path = tmp_path / "slide.tif"
    path.write_bytes(slide(100_000))
    done = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    message, kilobytes = done.stdout.splitlines()
    assert message == (
        f"{path} has 100000 x 100000 pixels, more than the limit of 178956970 that are read at once; "
        "crop it, or cut it into tiles and give those"
    )
    assert int(kilobytes) < 50_000  # measured: 1 MB


def test_to_uint8_refuses_what_is_no_pixel():
    for bad in ([-1.0], [np.nan], [70000]):
        with pytest.raises(ValueError, match="must lie in"):
            to_uint8(np.asarray([bad]))


def test_what_would_run_a_program_to_be_read_is_no_picture(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="not a picture"):
        open_picture(tmp_path / "x.jpg")
