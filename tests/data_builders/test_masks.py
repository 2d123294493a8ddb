import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from data_builders import masks

ANY_MASK = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def gray(mask: np.ndarray, value: int) -> np.ndarray:
    return np.where(mask, value, 0).astype(np.uint8)


def color(mask: np.ndarray, rgb: tuple[int, int, int], background=(0, 0, 0)) -> np.ndarray:
    return np.where(mask[..., None], rgb, background).astype(np.uint8)


def palette(mask: np.ndarray, colors: list[int]) -> Image.Image:
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(colors)
    return picture


ENCODINGS = {
    "0/1": lambda m: Image.fromarray(gray(m, 1)),
    "0/255": lambda m: Image.fromarray(gray(m, 255)),
    "0/38": lambda m: Image.fromarray(gray(m, 38)),
    "1 bit": lambda m: Image.fromarray(m),
    "RGB 0/1": lambda m: Image.fromarray(color(m, (1, 1, 1))),
    "RGB 0/255": lambda m: Image.fromarray(color(m, (255, 255, 255))),
    "red": lambda m: Image.fromarray(color(m, (255, 0, 0))),
    "dark green": lambda m: Image.fromarray(color(m, (0, 70, 0))),
    "opaque RGBA": lambda m: Image.fromarray(color(m, (255, 255, 255))).convert("RGBA"),
    "opaque RGBA 0/1": lambda m: Image.fromarray(color(m, (1, 1, 1))).convert("RGBA"),
    "palette": lambda m: palette(m, [0, 0, 0, 128, 0, 0]),
    "gray palette": lambda m: palette(m, [0, 0, 0, 255, 255, 255]),
    "16 bit": lambda m: Image.fromarray(gray(m, 255).astype(np.uint16) * 257),
    "16 bit 0/1": lambda m: Image.fromarray(m.astype(np.uint16)),
}


@pytest.mark.parametrize("name", ENCODINGS)
@settings(max_examples=20, deadline=None)
@given(mask=ANY_MASK)
def test_every_encoding_gives_the_mask(name, mask):
    buffer = io.BytesIO()
    ENCODINGS[name](mask).save(buffer, "PNG")
    np.testing.assert_array_equal(masks.read_mask(buffer.getvalue()), mask)


@settings(max_examples=50, deadline=None)
@given(mask=ANY_MASK.filter(lambda m: m.any() and not m.all()), paint=st.sampled_from([0, 1, 255]))
def test_alpha_that_varies_is_the_mask(mask, paint):
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., :3] = paint
    rgba[..., 3] = gray(mask, 255)
    np.testing.assert_array_equal(masks.binarize(masks.values(Image.fromarray(rgba))), mask)


@given(soft=hnp.arrays(np.uint8, (6, 7)).filter(lambda a: len(np.unique(a)) > 3))
def test_soft_masks_are_cut_at_half(soft):
    np.testing.assert_array_equal(masks.read_mask(Image.fromarray(soft)), soft >= 128)
    assert masks.is_soft(soft)


def test_soft_paint_counts_by_its_strongest_channel():
    red = np.zeros((1, 256, 3), np.uint8)
    red[..., 0] = np.arange(256)
    assert masks.read_mask(Image.fromarray(red)).tolist() == [[v >= 128 for v in range(256)]]


def test_a_binary_image_stays_binary_however_little_is_set():
    mask = np.zeros((9, 9), bool)
    assert not masks.read_mask(Image.fromarray(mask)).any()
    mask[4, 4] = True
    for value in (1, 2, 255):
        np.testing.assert_array_equal(masks.read_mask(Image.fromarray(gray(mask, value))), mask)


def test_void_is_not_the_object():
    label = np.array([[0, 1], [255, 1]], np.uint8)
    for picture in (Image.fromarray(label), palette(label, [*range(9), *[7, 8, 9] * 253])):
        assert masks.read_mask(picture).tolist() == [[False, True], [False, True]]


def test_object_that_fills_a_palette_image():
    full = np.ones((3, 3), bool)
    assert masks.read_mask(palette(full, [0, 0, 0, 64, 0, 0])).all()
    assert masks.read_mask(palette(~full, [0, 0, 0, 64, 0, 0])).sum() == 0


def test_real_masks_of_both_encodings(shared):
    """eiffel_tower is 0/1 RGB, african_elephant RGBA with alpha 255 and soft edges."""
    folder = shared / "data/fss1000_subset/fewshot_data"
    for path in sorted(folder.glob("*/*.png")):
        raw = np.asarray(Image.open(path))
        binary = path.parent.name == "eiffel_tower"
        expected = (
            raw.mean(-1) > 0.5 if binary else np.asarray(Image.open(path).convert("L")) >= 128
        )
        np.testing.assert_array_equal(masks.read_mask(path), expected)
        assert 0.01 < expected.mean() < 0.5
        values = masks.values(Image.open(path))
        assert masks.is_soft(values) != binary and not masks.is_photograph(values)
    for path in sorted(folder.glob("*/*.jpg")):
        assert masks.is_photograph(masks.values(Image.open(path)))
