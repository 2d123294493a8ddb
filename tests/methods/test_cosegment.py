"""Co-segmentation: its parts against brute force, and an object hidden in unlike backgrounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference
from PIL import Image

from fss_jax.methods import cosegment
from fss_jax.methods.cosegment import CoSegmentation

SIDE, OBJECT = 96, 40


def texture(seed, side):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (side // 6 + 2,) * 2 + (3,), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


def scene(seed, top, left):
    image, mask = texture(seed, SIDE).astype(np.float32), np.zeros((SIDE, SIDE), bool)
    image[top : top + OBJECT, left : left + OBJECT] = texture(99, OBJECT)
    mask[top : top + OBJECT, left : left + OBJECT] = True
    return image, mask


@functools.cache
def found(shots, mask_value=0.0):
    support = np.stack([scene(n, *at)[0] for n, at in enumerate([(8, 16), (48, 40), (32, 8)])])
    support = jnp.asarray(support[None, :shots])
    mask = jnp.full(support.shape[:-1], mask_value)
    query = jnp.asarray(scene(7, 40, 24)[0][None, None])
    model = CoSegmentation(words=16)
    return np.asarray(reference.compiled(lambda *x: model.apply({}, *x))(support, mask, query))


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 3])
def test_finds_the_shared_object(shots):
    mask = scene(7, 40, 24)[1]
    predicted = found(shots)[0, 0] > 0
    assert (predicted & mask).sum() / (predicted | mask).sum() > 0.4
    assert (predicted & mask).sum() / predicted.sum() > 0.8


@pytest.mark.slow
def test_masks_are_not_looked_at():
    np.testing.assert_array_equal(found(1), found(1, mask_value=1.0))


@pytest.mark.slow
def test_nothing_is_found_in_blank_images():
    blank = jnp.full((1, 1, 32, 32, 3), 90.0)
    model = CoSegmentation(words=4, rounds=1)
    logits = reference.compiled(lambda *x: model.apply({}, *x))(blank, blank[..., 0], blank)
    assert (logits <= 0).all()


@pytest.mark.slow
def test_search_comes_close_to_the_best_match():
    one, other = (
        np.asarray(cosegment.descriptors(jnp.asarray(scene(*args)[0]), 8))
        for args in ((1, 8, 16), (2, 48, 40))
    )
    size, rounds = one.shape[0], 6
    rows, cols = np.mgrid[:size, :size]
    best = np.full((size, size), np.inf)
    for v, u in np.ndindex(size, size):
        total = np.zeros((size, size))
        for i, j in np.ndindex(3, 3):
            y, x = rows + i - 1, cols + j - 1
            inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
            there = other[np.clip(v + i - 1, 0, size - 1), np.clip(u + j - 1, 0, size - 1)]
            total += inside * np.square(one[y % size, x % size] - there).sum(-1)
        best = np.minimum(best, total)
    match, error = reference.compiled(
        lambda a, b: cosegment.search(a, b, jax.random.key(0), 1, rounds)
    )(jnp.asarray(one), jnp.asarray(other))
    assert (np.asarray(error) >= best - 1e-4).all()
    assert np.mean(np.asarray(error) < best * 1.05 + 1e-4) > 0.5
    inside = np.s_[2:5, 3:6]  # cells well within the object, which moved by 40 and 24 pixels
    moved = np.asarray(match)[inside] - np.stack(np.mgrid[2:5, 3:6], -1)
    np.testing.assert_array_equal(moved, np.broadcast_to([5, 3], moved.shape))


@pytest.mark.slow
def test_otsu_equals_the_definition():
    values = np.random.default_rng(0).uniform(size=(5, 6)) ** 3

    def between(level):
        low, high = values[values <= level], values[values > level]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(np.sort(values.ravel())[:-1], key=between)
    level = cosegment.otsu(jnp.asarray(values, jnp.float32))
    np.testing.assert_array_equal(values > level, values > best)
