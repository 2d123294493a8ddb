"""Guided networks: shots, sparse points, later annotations. tests/parity has the PyTorch forward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers

from fss_jax.methods.guided import GuidedNetwork

MODEL = GuidedNetwork(width=1 / 16, geometry="dilated8")


def episode(k=2, q=2, side=40, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((1, k, side, side), np.float32)
    for shot in range(k):
        mask[0, shot, 5 + 4 * shot : 30, 8:30] = 1.0
    support = rng.uniform(0, 255, (1, k, side, side, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, q, side, side, 3)).astype(np.float32)
    return tuple(map(jnp.asarray, (support, mask, query)))


@functools.cache
def variables():
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), *episode())
    return reference_layers.random_variables(shapes)


@functools.cache
def applied(method):
    return reference_layers.compiled(functools.partial(MODEL.apply, method=method))


def run(method, *args):
    return applied(method)(variables(), *args)


def same(a, b):
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), a, b)


def test_order_of_shots_is_irrelevant():
    support, mask, _ = episode()
    straight = run("condition", support, mask)
    same(straight, run("condition", support[:, ::-1], mask[:, ::-1]))
    np.testing.assert_array_equal(straight["shots"], [[2, 2]])


@pytest.mark.slow
def test_shots_are_averaged_and_can_come_later():
    support, mask, _ = episode()
    mask = mask.at[:, 1].set(1.0)  # nothing but object
    together = run("condition", support, mask)
    first = run("condition", support[:, :1], mask[:, :1])
    same(together, run("update", first, support[:, 1:], mask[:, 1:]))
    np.testing.assert_array_equal(together["shots"], [[1, 2]])
    second = run("condition", support[:, 1:], mask[:, 1:])
    guide = (first["guide"][:, 1] + second["guide"][:, 1]) / 2
    same(together["guide"][:, 1], guide)
    same(together["guide"][:, 0], first["guide"][:, 0])


def test_undecided_pixels_do_not_count():
    support, mask, _ = episode(k=1)
    points = jnp.full_like(mask, -1.0).at[0, 0, 10, 10].set(1.0).at[0, 0, 35, 35].set(0.0)
    sparse = run("condition", support, points)
    np.testing.assert_array_equal(sparse["shots"], [[1, 1]])
    nothing = run("condition", support, jnp.full_like(mask, -1.0))
    np.testing.assert_array_equal(nothing["guide"], 0.0)
    np.testing.assert_array_equal(nothing["shots"], 0.0)
    # All of the object marked, no background: the dense mask's positive guide.
    dense = run("condition", support, mask)
    positive = run("condition", support, jnp.where(mask > 0, 1.0, -1.0))
    same(dense["guide"][:, 1], positive["guide"][:, 1])


@pytest.mark.slow
def test_one_call_is_condition_and_segment():
    support, mask, query = episode()
    whole = run("__call__", support, mask, query)
    assert whole.shape == (1, 2, 40, 40)
    same(whole, run("segment", run("condition", support, mask), query))


def test_swapping_the_guides_turns_the_logits_around():
    support, mask, query = episode()
    task = run("condition", support, mask)
    turned = {**task, "guide": task["guide"][:, ::-1]}
    same(run("segment", task, query), -run("segment", turned, query))


def test_a_fresh_network_is_undecided():
    """The score starts at zero, so the first step learns the head's last layer alone."""
    score = jax.tree.map(jnp.zeros_like, variables()["params"]["score"])
    fresh = {"params": {**variables()["params"], "score": score}}
    np.testing.assert_array_equal(applied("__call__")(fresh, *episode()), 0.0)
    made = jax.eval_shape(MODEL.init, jax.random.key(0), *episode())
    assert MODEL.init_std == 0.001 and made["params"]["score"]["kernel"].shape == (1, 1, 32, 1)


@pytest.mark.slow
@pytest.mark.parametrize("geometry,side", [("release", 500), ("dilated8", 224)])
def test_full_size(geometry, side):
    shapes = [(1, 5, side, side, 3), (1, 5, side, side), (1, 2, side, side + 7, 3)]
    data = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    model = GuidedNetwork(geometry=geometry)
    logits, made = jax.eval_shape(model.init_with_output, jax.random.key(0), *data)
    assert (logits.shape, logits.dtype) == ((1, 2, side, side + 7), jnp.float32)
    assert made["params"]["fc6"]["kernel"].shape == (7, 7, 512, 256)


def test_unknown_geometry():
    with pytest.raises(ValueError, match="'fcn8': choose one of release, dilated8, dilated4"):
        GuidedNetwork(geometry="fcn8").init(jax.random.key(0), *episode())
