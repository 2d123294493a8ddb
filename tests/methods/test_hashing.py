"""Weight hashing: what the gather with signs stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_oslsm as reference

from fss_jax.methods.layers.hashing import ClassifierHash, WeightHash, draw


@pytest.mark.slow
def test_rows_have_exactly_one_sign():
    """One frozen layer with one entry a row (OSLSM 4.1; protocols.md A.6)."""
    module = WeightHash(257, seed=3)
    variables = module.init(jax.random.key(0), jnp.zeros(100))
    matrix = np.asarray(module.apply(variables, jnp.eye(100))).T
    assert matrix.shape == (257, 100)
    np.testing.assert_array_equal(np.abs(matrix).sum(1), 1)
    np.testing.assert_array_equal((matrix != 0).sum(1), 1)
    np.testing.assert_array_equal(matrix, reference.hash_matrix(variables["hash"], 100))


def test_the_draw_is_uniform_and_a_function_of_the_seed():
    kappa, zeta = draw(1, 100_000, 10)
    assert np.abs(np.bincount(kappa, minlength=10) / 10_000 - 1).max() < 0.05
    assert abs(zeta.mean()) < 0.02 and set(zeta) == {-1, 1}
    assert (draw(1, 100_000, 10)[0] == kappa).all()
    assert (draw(2, 50, 1000)[0] != draw(1, 50, 1000)[0]).any()


@pytest.mark.slow
def test_gradient_scatters_back():
    module = WeightHash(64, seed=1)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 10)), jnp.float32)
    variables = module.init(jax.random.key(0), x)
    pull = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, 64)), jnp.float32)
    gradient = jax.grad(lambda x: (module.apply(variables, x) * pull).sum())(x)
    expected = np.asarray(pull) @ reference.hash_matrix(variables["hash"], 10)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["joint", "separate"])
def test_forms(form):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 50)), jnp.float32)
    (w, b), variables = ClassifierHash(16, form).init_with_output(jax.random.key(0), x)
    assert set(variables) == {"hash"}, "nothing to train"
    names = ["theta"] if form == "joint" else ["rw1s", "rb1s"]
    assert sorted(variables["hash"]) == sorted(names)
    rows = [reference.hash_matrix(variables["hash"][name], 50) for name in names]
    theta = np.asarray(x) @ np.concatenate(rows).T
    np.testing.assert_allclose(w, theta[..., :16], atol=1e-6)
    np.testing.assert_allclose(b, theta[..., 16], atol=1e-6)


def test_tables_come_from_the_variables():
    """A checkpoint's draw counts, whatever the seed of the module that restores it."""
    x = jnp.arange(30.0)
    made, restored = WeightHash(8, seed=1), WeightHash(8, seed=2)
    variables = made.init(jax.random.key(0), x)
    assert (made.apply(variables, x) == restored.apply(variables, x)).all()
    assert (
        made.apply(variables, x) != restored.apply(restored.init(jax.random.key(0), x), x)
    ).any()


def test_unknown_form():
    with pytest.raises(ValueError, match="'both': choose one of joint, separate"):
        ClassifierHash(4, "both").init(jax.random.key(0), jnp.zeros((1, 5)))
