"""Masked averages equal the literal definition: stretch the features, mask, average."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods.layers import interpolation, masked_average, split


def matrices(size, out):
    return [interpolation(n, m, align_corners=False) for n, m in zip(size, out, strict=True)]


def test_equals_the_average_of_stretched_features():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 4, 5, 3))
    mask = (rng.uniform(size=(2, 13, 11)) > 0.6).astype(float)
    stretched = reference.resize(features, 13, 11, align_corners=False)
    expected = (stretched * mask[..., None]).sum((1, 2)) / mask.sum((1, 2))[:, None]
    found = masked_average(
        jnp.asarray(features, jnp.float32),
        jnp.asarray(mask, jnp.float32),
        *matrices((4, 5), (13, 11)),
        1e-5,
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("marked", [1, 20])
def test_average_of_a_constant_map_is_the_constant(marked):
    features = jnp.broadcast_to(jnp.array([3.0, -1.0]), (3, 4, 2))
    mask = jnp.zeros(7 * 9).at[:marked].set(1.0).reshape(7, 9)
    found = masked_average(features, mask, *matrices((3, 4), (7, 9)), 1e-5)
    np.testing.assert_allclose(found, [3.0, -1.0], rtol=1e-4)


def test_nothing_marked_gives_zero():
    found = masked_average(jnp.ones((3, 4, 2)), jnp.zeros((7, 9)), *matrices((3, 4), (7, 9)), 1e-5)
    np.testing.assert_array_equal(found, 0.0)


def test_split():
    foreground, background = split(jnp.array([[1.0, 0.0, -1.0, 0.25]]))
    np.testing.assert_allclose(foreground, [[1.0, 0.0, 0.0, 0.25]])
    np.testing.assert_allclose(background, [[0.0, 1.0, 0.0, 0.75]])
