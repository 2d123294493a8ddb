"""SSP's choice of sure pixels, its own prototypes and its loss. tests/parity has the PyTorch forward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers

from fss_jax.methods import ssp
from fss_jax.methods.ssp import SSP

MODEL = SSP(backbone="squeezenet1_0", width=1 / 16, projection=16, preprocessing="centered")


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def episode(k=2, q=2, side=64):
    mask = jnp.zeros((1, k, side, side)).at[:, :, 5:40, 8:50].set(1.0)
    mask = mask.at[:, 0, 40:60, :9].set(1.0)
    support = 128.0 + 40.0 * normal(1, k, side, side, 3)
    return support, mask, 128.0 + 40.0 * normal(1, q, side, side, 3, seed=1)


@functools.cache
def variables():
    return reference_layers.random_variables(
        jax.eval_shape(MODEL.init, jax.random.key(0), *episode())
    )


@pytest.mark.slow
def test_sure_are_those_above_or_else_the_twelve_best():
    p = jnp.asarray(np.random.default_rng(0).permutation(np.linspace(0.1, 0.65, 30)), jnp.float32)
    assert (ssp.sure(p, 0.6) == (p > 0.6)).all()
    best = ssp.sure(p, 0.7)
    assert best.sum() == 12 and p[best].min() > p[~best].max()
    assert ssp.sure(p[:5], 0.7).all()


@pytest.mark.slow
def test_a_query_of_two_constant_parts_supports_itself():
    """Each part's own prototype is its feature, whatever the support's were."""
    object_, rest = jnp.array([1.0, 0.2, 0.0]), jnp.array([0.0, 0.3, 1.0])
    query = jnp.concatenate([jnp.tile(object_, (20, 1)), jnp.tile(rest, (30, 1))])
    scores = ssp.similarity(query[None, None, None], jnp.stack([rest, object_])[None, None])
    found, background, local = ssp.self_support(query, scores[0, 0, :, 0])
    np.testing.assert_allclose(found, object_, atol=1e-5)
    np.testing.assert_allclose(background, rest, atol=1e-5)
    np.testing.assert_allclose(local, jnp.tile(rest, (50, 1)), atol=1e-5)


@pytest.mark.slow
def test_undecided_pixels_count_for_neither():
    features = normal(1, 1, 6, 6, 4)
    mask = jnp.full((1, 1, 6, 6), -1.0).at[..., 1, 2].set(1.0).at[..., 4, 4].set(0.0)
    found = ssp.prototypes(features, mask)[0, 0]
    expected = np.stack([features[0, 0, 4, 4], features[0, 0, 1, 2]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    scores = jnp.zeros((1, 1, 2, 6, 6)).at[:, :, 1].set(3.0)
    expected = (np.log1p(np.exp(-3)) + np.log1p(np.exp(3))) / 2
    np.testing.assert_allclose(ssp.cross_entropy(scores, mask), expected, rtol=1e-5)


@pytest.mark.slow
def test_halves_features_and_loss():
    """The halves are the whole; features stand for images; only the projection learns."""

    def all_of(variables, support, mask, query):
        task = MODEL.apply(variables, support, mask, method="condition")
        apart = MODEL.apply(variables, task, query, method="segment")
        seen = [MODEL.apply(variables, x, method="encoded") for x in (support, query)]
        known = MODEL.apply(variables, seen[0], mask, seen[1])

        def loss(params, *images):
            given = (images[0], mask, images[1], mask)
            return MODEL.apply({"params": params}, *given, train=True, method="loss")

        graded = jax.value_and_grad(loss)(variables["params"], support, query)
        return apart, known, MODEL.apply(variables, support, mask, query), graded

    apart, known, whole, (loss, gradient) = reference_layers.compiled(all_of)(
        variables(), *episode()
    )
    assert whole.shape == (1, 2, 64, 64)
    np.testing.assert_allclose(apart, whole, atol=1e-4)
    np.testing.assert_allclose(known, whole, atol=1e-4)
    assert loss > 0 and np.abs(gradient["project"]["kernel"]).max() > 0
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient["encoder"])) == 0


@pytest.mark.slow
def test_full_size():
    """473 pixels on the published backbone: 60 cells, three stages of ResNet-50."""
    shapes = [(1, 1, 473, 473, 3), (1, 1, 473, 473), (1, 1, 473, 473, 3)]
    data = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    logits, made = jax.eval_shape(SSP().init_with_output, jax.random.key(0), *data)
    assert logits.shape == (1, 1, 473, 473)
    assert set(made["params"]) == {"encoder"} and "layer3_5" in made["params"]["encoder"]
    assert "layer4_0" not in made["params"]["encoder"]
