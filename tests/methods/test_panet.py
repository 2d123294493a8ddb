"""PANet's prototypes and its alignment loss. tests/parity compares the whole with PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers

from fss_jax.methods import panet
from fss_jax.methods.panet import PANet

MODEL = PANet(width=1 / 16)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def episode(k=2, q=2, side=40):
    mask = jnp.zeros((1, k, side, side)).at[:, :, 5:20, 8:30].set(1.0)
    mask = mask.at[:, 0, 20:24, :9].set(1.0)
    support = 128.0 + 40.0 * normal(1, k, side, side, 3)
    return support, mask, 128.0 + 40.0 * normal(1, q, side, side, 3, seed=1)


@functools.cache
def variables():
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), *episode())
    return reference_layers.random_variables(shapes)


@pytest.mark.slow
def test_prototypes_of_a_constant_map_are_the_constant():
    features = jnp.broadcast_to(jnp.array([2.0, -1.0, 0.5]), (1, 1, 2, 5, 5, 3))
    found = panet.prototypes(features, episode()[1][:, None])
    np.testing.assert_allclose(found, np.broadcast_to([2.0, -1.0, 0.5], (1, 2, 3)), rtol=1e-4)


@pytest.mark.slow
def test_order_of_shots_is_irrelevant_and_repeats_change_nothing():
    features, mask = normal(1, 1, 2, 5, 5, 4), episode()[1][:, None]
    straight = panet.prototypes(features, mask)
    shuffled = panet.prototypes(features[:, :, ::-1], mask[:, :, ::-1])
    np.testing.assert_allclose(straight, shuffled, atol=1e-5)
    repeated = panet.prototypes(jnp.repeat(features, 2, 2), jnp.repeat(mask, 2, 2))
    np.testing.assert_allclose(straight, repeated, atol=1e-5)


@pytest.mark.slow
def test_undecided_pixels_count_for_neither():
    features = normal(1, 1, 1, 6, 6, 4)
    mask = jnp.full((1, 1, 1, 6, 6), -1.0).at[..., 1, 2].set(1.0).at[..., 4, 4].set(0.0)
    found = panet.prototypes(features, mask)
    expected = np.stack([features[0, 0, 0, 4, 4], features[0, 0, 0, 1, 2]])
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


@pytest.mark.slow
def test_a_class_is_one_of_two_or_one_of_many():
    """Two classes with the same support score alike, and as the binary task does."""
    features, mask, query = normal(1, 1, 2, 5, 5, 4), episode()[1][:, None], normal(1, 1, 5, 5, 4)
    one = panet.similarity(query, panet.prototypes(features, mask))
    two = panet.similarity(
        query, panet.prototypes(jnp.repeat(features, 2, 1), jnp.repeat(mask, 2, 1))
    )
    np.testing.assert_allclose(two[:, :, :2], one, atol=1e-4)
    np.testing.assert_allclose(two[:, :, 2], one[:, :, 1], atol=1e-4)


@pytest.mark.slow
def test_alignment_loss_is_zero_at_a_perfect_prediction():
    mask = jnp.zeros((1, 1, 1, 6, 6)).at[..., :3].set(1.0)
    # Object and background features point in opposite directions, in both images.
    direction = jnp.array([1.0, -2.0, 0.5]).reshape(1, 1, 1, 1, 1, 3)
    features = (2 * mask - 1)[..., None] * direction
    query = features[:, 0]
    scores = jnp.stack([1 - mask[:, 0], mask[:, 0]], 2)
    assert panet.alignment_loss(features, mask, query, scores) < 1e-6
    assert panet.alignment_loss(features, 1 - mask, query, scores) > 10.0
    undecided = jnp.where(mask > 0, -1.0, 0.0)
    assert panet.alignment_loss(features, undecided, query, scores) < 1e-6


@pytest.mark.slow
def test_alignment_loss_skips_a_class_that_is_nowhere_predicted():
    support, mask, query = normal(1, 1, 1, 5, 5, 4), episode(k=1)[1][:, None], normal(1, 2, 5, 5, 4)
    scores = jnp.stack([jnp.ones((1, 2, 5, 5)), jnp.zeros((1, 2, 5, 5))], 2)
    graded = reference_layers.compiled(jax.value_and_grad(panet.alignment_loss))
    loss, gradient = graded(support, mask, query, scores)
    assert loss == 0.0
    assert np.isfinite(gradient).all()


def test_gradients_with_an_empty_mask_are_finite():
    def loss(features):
        task = panet.prototypes(features, jnp.zeros((1, 1, 2, 20, 20)))
        return panet.similarity(features[:, 0], task).sum()

    gradient = reference_layers.compiled(jax.grad(loss))(normal(1, 1, 2, 5, 5, 4))
    assert np.isfinite(gradient).all()


def test_one_call_is_condition_and_segment_and_training_adds_the_loss():
    def both(variables, support, mask, query):
        task = MODEL.apply(variables, support, mask, method="condition")
        apart = MODEL.apply(variables, task, query, method="segment")
        whole, sown = MODEL.apply(variables, support, mask, query, train=True, mutable=["losses"])
        return apart, whole, sown

    apart, whole, sown = reference_layers.compiled(both)(variables(), *episode())
    assert apart.shape == (1, 2, 40, 40)
    np.testing.assert_allclose(apart, whole, atol=1e-4)
    (loss,) = sown["losses"]["alignment"]
    assert loss.shape == () and np.isfinite(loss)
    plain = jax.eval_shape(
        lambda v: PANet(width=1 / 16, align=0.0).apply(
            v, *episode(), train=True, mutable=["losses"]
        )[1],
        variables(),
    )
    assert not plain


@pytest.mark.slow
def test_full_size():
    """417 pixels give 53 cells; the parameters are VGG-16's convolutions."""
    shapes = [(1, 1, 417, 417, 3), (1, 1, 417, 417), (1, 1, 417, 417, 3)]
    data = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    logits, made = jax.eval_shape(PANet().init_with_output, jax.random.key(0), *data)
    assert logits.shape == (1, 1, 417, 417)
    assert sum(np.prod(p.shape) for p in jax.tree.leaves(made["params"])) == 14_714_688
    encoder = panet.Encoder(1.0, jnp.float32)
    features = jax.eval_shape(encoder.init_with_output, jax.random.key(0), data[0])[0]
    assert features.shape == (1, 1, 53, 53, 512)
