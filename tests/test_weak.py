"""Clicks, scribbles and boxes say nothing that the dense mask does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax import weak


def disc(side=24, radius=6):
    y, x = np.mgrid[:side, :side]
    return jnp.asarray((y - 10) ** 2 + (x - 13) ** 2 <= radius**2, jnp.float32)


def check(annotation, mask):
    decided = annotation >= 0
    np.testing.assert_array_equal(annotation[decided], mask[decided])
    np.testing.assert_array_equal(np.unique(annotation[~decided]), [-1.0])


def test_box():
    found = np.asarray(weak.box(jnp.stack([disc(), jnp.zeros((24, 24))])))
    expected = np.zeros((24, 24))
    expected[4:17, 7:20] = 1
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].sum() == 0


@pytest.mark.parametrize("count", [1, 5])
def test_points(count):
    mask = disc()
    a, b = (weak.points(jax.random.key(seed), mask, count) for seed in (0, 1))
    for annotation in (a, b):
        check(annotation, mask)
        assert (annotation == 1).sum() == (annotation == 0).sum() == count
    assert (a != b).any()


def test_points_of_a_small_object_are_all_of_it():
    mask = jnp.zeros((9, 9)).at[2, 3:5].set(1.0)
    annotation = weak.points(jax.random.key(0), mask, 5)
    check(annotation, mask)
    np.testing.assert_array_equal(annotation == 1, mask == 1)
    assert (weak.points(jax.random.key(0), 0 * mask, 5) == 1).sum() == 0


def test_scribble():
    mask = disc()
    annotation = jax.jit(weak.scribble)(jax.random.key(0), mask)
    check(annotation, mask)
    marked = (annotation == 1).sum()
    assert 6 < marked < mask.sum()
    assert (annotation == 0).sum() > 6
    assert (weak.scribble(jax.random.key(0), 0 * mask) == 1).sum() == 0
