"""Methods that learn from episodes, where there is little to learn from: nothing marked, everything
marked, an object that the query does not show. `test_comparison_methods` has the others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax import methods
from fss_jax.training import losses

METHODS = {
    "oslsm": {
        "blocks": ((1, 8), (1, 8)),
        "hidden": 16,
        "fc6_size": 1,
        "num_outputs": 8,
        "geometry": "dilated4",
        "preprocessing": "centered",
    },
    "relation": {"width": 1 / 64},
    "guided": {"width": 1 / 64, "geometry": "dilated8", "preprocessing": "centered"},
    "panet": {"width": 1 / 64, "preprocessing": "centered"},
    "canet": {"width": 1 / 64, "iterations": 1, "preprocessing": "centered"},
}
SIDE = 32
RNG = np.random.default_rng(0)
SUPPORT, QUERY = (
    jnp.asarray(RNG.uniform(0, 255, (1, n, SIDE, SIDE, 3)), jnp.float32) for n in (2, 1)
)
SQUARE = jnp.zeros((1, 2, SIDE, SIDE)).at[:, :, 8:24, 4:20].set(1.0)
MASKS = {"nothing": 0 * SQUARE, "a square": SQUARE, "everything": jnp.ones_like(SQUARE)}


@functools.cache
def compiled(name):
    """(variables, function from supports to logits); one compilation a method."""
    model = methods.build(name, **METHODS[name])
    given = (jax.random.key(0), SUPPORT, SQUARE, QUERY)
    if name == "oslsm":  # its hash tables are no noise
        variables = reference.compiled(model.init)(*given)
    else:
        variables = reference.random_variables(jax.eval_shape(model.init, *given))
    return variables, reference.compiled(model.apply)


@pytest.mark.parametrize("marked", MASKS)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("canet", "relation") else name
        for name in METHODS
    ],
)
def test_any_mask_gets_a_finite_answer_that_its_order_does_not_change(name, marked):
    variables, answer = compiled(name)
    logits = answer(variables, SUPPORT, MASKS[marked], QUERY)
    assert logits.shape == (1, 1, SIDE, SIDE) and np.isfinite(logits).all()
    swapped = answer(variables, SUPPORT[:, ::-1], MASKS[marked][:, ::-1], QUERY)
    np.testing.assert_allclose(logits, swapped, atol=1e-3 * np.abs(logits).max())


@pytest.mark.slow
def test_a_support_that_marks_nothing_says_nothing_of_its_image_to_oslsm():
    """It hides what is not marked (protocols.md A.4), so that any two images are the same."""
    variables, answer = compiled("oslsm")
    one = answer(variables, SUPPORT, MASKS["nothing"], QUERY)
    other = answer(variables, 255 - SUPPORT, MASKS["nothing"], QUERY)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("marked", "value"), [("nothing", False), ("everything", True)])
def test_one_side_alone_decides_all_of_panet_s_answer(marked, value):
    """The other side's prototype is zero, and so is its cosine: what is left has the sign of one."""
    variables, answer = compiled("panet")
    logits = answer(variables, jnp.abs(SUPPORT), MASKS[marked], SUPPORT[:, :1])
    assert ((logits > 0) == value).mean() > 0.9


@pytest.mark.parametrize("kind", ["mean", "mse"])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_a_query_without_the_object_or_full_of_it_has_a_loss_to_learn_from(kind, truth):
    logits = jnp.linspace(-3, 3, SIDE * SIDE).reshape(1, 1, SIDE, SIDE)
    mask = jnp.full_like(logits, truth)

    def loss(logits):
        return losses.segmentation_loss(
            logits, mask, jnp.ones_like(mask), kind=kind, foreground_weight=3.0
        )

    value, slope = jax.value_and_grad(loss)(logits)
    assert np.isfinite(value) and value > 0
    assert (np.sign(slope) == (1 if truth == 0 else -1)).all()
