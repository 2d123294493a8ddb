"""Episodes cut on the device against the same cuts made with Pillow, SciPy and fractions."""

import functools
import io

import jax
import numpy as np
import pytest
import reference_pixels
import toy
from PIL import Image

from fss_jax.data import bank as banks
from fss_jax.data import datasets

FILL = (120.0, 110.0, 100.0)


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "test", toy_data)


@pytest.fixture(scope="module")
def records(split):
    """Item indices: K = 2 supports, Q = 2 queries, in images of both shapes and of two classes."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, len(split.items), (4, 2)).astype(np.int32),
        rng.integers(0, len(split.items), (4, 2)).astype(np.int32),
    )


def pixels(split, item):
    """An item's image (float) and label map as stored, decoded by Pillow, and its label value."""
    example = split.source[int(split.examples[split.item_image[item]])]
    image, label = (np.asarray(Image.open(io.BytesIO(example[k]))) for k in ("image", "label"))
    return image, label, toy.VALUE + split.items[item][1]


@functools.cache
def gather(support_size, query_size, score_size, void):
    return jax.jit(
        functools.partial(
            banks.gather,
            support_size=support_size,
            query_size=query_size,
            score_size=score_size,
            fill=FILL,
            void=void,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("void", ["background", "ignore"])
@pytest.mark.parametrize("support_size, query_size, score_size", [(16, 24, 50), (24, 0, 0)])
def test_episodes_are_cut_as_pillow_and_scipy_cut_them(
    split, records, support_size, query_size, score_size, void
):
    canvas = 44  # larger than any image
    bank = banks.load_bank(split, canvas)
    support, query = records
    episode = gather(support_size, query_size, score_size, void)(bank, support, query)
    episode = jax.tree.map(np.asarray, episode)
    seen_void = 0
    for b in range(4):
        for k in range(2):
            image, label, value = pixels(split, support[b, k])
            expected = reference_pixels.resize(image, support_size, FILL)
            np.testing.assert_allclose(episode.support_image[b, k], expected, atol=2e-3)
            mask = reference_pixels.resize_label(label, support_size) == value
            np.testing.assert_array_equal(episode.support_mask[b, k], mask)
        for q in range(2):
            image, label, value = pixels(split, query[b, q])
            assert tuple(episode.query_size[b, q]) == label.shape
            if query_size:
                image = reference_pixels.resize(image, query_size, FILL)
                label = reference_pixels.resize_label(label, score_size)
                known = np.ones(label.shape, bool)
            else:  # the true size in the canvas's corner
                around = [(0, canvas - side) for side in label.shape]
                known = np.pad(np.ones(label.shape, bool), around)
                image, label = np.pad(image, [*around, (0, 0)]), np.pad(label, around)
                image = np.where(known[..., None], image, FILL)
            np.testing.assert_allclose(episode.query_image[b, q], image, atol=2e-3)
            np.testing.assert_array_equal(episode.query_mask[b, q], label == value)
            seen_void += (label == 255).sum()
            counts = known & (label != 255) if void == "ignore" else known
            np.testing.assert_array_equal(episode.query_valid[b, q], counts)
    assert seen_void


def test_larger_images_are_shrunk_with_their_aspect_ratio(split):
    """As Pillow shrinks them; labels keep their values."""
    bank = banks.load_bank(split, 20)
    for index in range(len(split.image_ids)):
        image, label = split.read(index)
        height, width = (round(side * 20 / max(label.shape)) for side in label.shape)
        assert max(height, width) == 20
        assert tuple(bank.sizes[index]) == (height, width)
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(bank.images[index, :height, :width], small)
        assert set(np.unique(bank.labels[index])) <= set(np.unique(label))
        around = np.ones((20, 20), bool)
        around[:height, :width] = False
        assert not bank.images[index][around].any() and not bank.labels[index][around].any()


def test_a_bank_of_some_images_serves_their_items(split, records):
    used = np.unique(split.item_image[np.concatenate(records)])
    whole, part = banks.load_bank(split, 44), banks.load_bank(split, 44, used.tolist())
    assert len(part.images) == len(used) < len(whole.images)
    cut = gather(16, 24, 50, "ignore")
    one, other = (jax.tree.leaves(cut(bank, *records)) for bank in (whole, part))
    assert all(map(np.array_equal, one, other))


def test_the_bytes_of_a_bank_are_told_beforehand(split):
    bank = banks.load_bank(split, 44)
    assert banks.canvas_bytes(len(split.image_ids), 44) == bank.images.nbytes + bank.labels.nbytes
