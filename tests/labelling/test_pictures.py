"""Everything that a picture can be; files as such are tested with `data_builders.pictures`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fss_jax.labelling.pictures import read_image, read_mask

RGB = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
MASK = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@settings(max_examples=30, deadline=None)
@given(rgb=RGB)
def test_paths_pictures_and_arrays_are_alike(rgb, tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "x.png"
    Image.fromarray(rgb).save(path)
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    deep = rgb.astype(np.uint16) * 257
    deep[0, 0] = 65535  # else a dark one could pass for 8 bits
    bright = rgb.copy()
    bright[0, 0] = 255
    for source in (path, str(path), Image.open(path), rgb, opaque):
        np.testing.assert_array_equal(read_image(source), rgb)
    for source in (deep, bright / np.float32(255), bright.astype(np.float64)):
        np.testing.assert_array_equal(read_image(source), bright)


@given(gray=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_gray_arrays_become_rgb(gray):
    expected = np.repeat(gray[..., None], 3, 2)
    np.testing.assert_array_equal(read_image(gray), expected)
    np.testing.assert_array_equal(read_image(gray[..., None]), expected)
    np.testing.assert_array_equal(read_image(gray > 99), (expected > 99) * np.uint8(255))


@given(mask=MASK)
def test_masks_of_any_kind(mask):
    for source in (
        mask,
        mask[..., None],
        mask.astype(np.uint8),
        mask.astype(np.int32),
        mask.astype(np.float32),
        mask * np.uint8(255),
        mask * np.float64(255),
        mask * np.uint16(65535),
        Image.fromarray(mask),
        np.repeat(mask[..., None], 3, 2) * np.uint8([255, 0, 0]),
    ):
        np.testing.assert_array_equal(read_mask(source), mask)


@given(probability=hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)))
def test_probabilities_are_cut_at_half(probability):
    probability[0, :3] = (0, 0.3, 1)  # so that there are more than two values
    clear = np.abs(probability - 0.5) > 0.01
    np.testing.assert_array_equal(read_mask(probability)[clear], (probability > 0.5)[clear])


@pytest.mark.parametrize("shape", [(4,), (4, 5, 2), (1, 4, 5, 3), (0, 5)])
def test_other_arrays_are_refused(shape):
    with pytest.raises(ValueError, match=r"photo has the shape .* expected \[h, w\]"):
        read_image(np.zeros(shape, np.uint8), name="photo")
    with pytest.raises(ValueError, match="must lie in"):
        read_image(np.full((3, 3), -1.0))


def test_files_that_can_not_be_read(tmp_path):
    path = tmp_path / "x.jpg"
    with pytest.raises(FileNotFoundError, match="no file .*x.jpg"):
        read_image(path)
    Image.effect_noise((64, 64), 50).save(path)
    with pytest.raises(ValueError, match="64 x 64 pixels, more than the limit of 1000"):
        read_image(path, max_pixels=1000)
    path.write_bytes(path.read_bytes()[:-300])
    for read in (read_image, read_mask):
        with pytest.raises(ValueError, match="x.jpg is damaged or cut short"):
            read(path)
