"""Every method keeps the contract of fss_jax.methods.contract: each file of the folder, at its toy size.

Somebody's own are tried too: `FSS_JAX_METHODS=my_methods pytest tests/methods/test_conformance.py`.
Only declarations are asked, never a name.
"""

import functools

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference
import scipy.special
from flax import traverse_util

from fss_jax import methods
from fss_jax.data import imaging
from fss_jax.export import stablehlo

SIDE, SHOTS, QUERIES = 64, 2, 2
FEW_SHOT = [name for name in methods.names() if methods.get(name).few_shot]

pytestmark = pytest.mark.slow  # each method is compiled some ten times


def of_methods(names):
    """A test's parameter; one worker tries all of a method's, which share what is compiled."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
    )


def pictures(*corners):
    """Red squares over gray noise: images [1, n, SIDE, SIDE, 3] and their masks."""
    rng = np.random.default_rng(len(corners) + sum(corners))
    image = rng.uniform(90, 140, (1, len(corners), SIDE, SIDE, 3))
    mask = np.zeros(image.shape[:-1])
    for n, corner in enumerate(corners):
        mask[:, n, corner : corner + 16, 4:22] = 1
    image[mask == 1] = rng.uniform(0, 30, (int(mask.sum()), 3)) + (200, 20, 40)
    return jnp.asarray(image, jnp.float32), jnp.asarray(mask, jnp.float32)


SUPPORT, SQUARE = pictures(6, 20)
QUERY, _ = pictures(2, 18)


def having(declaration):
    """The few-shot methods that declare something; one of a test's parameters."""
    return [name for name in FEW_SHOT if getattr(methods.get(name), declaration)]


def jitted(function):
    return reference.compiled(function)


@functools.cache
def network(name):
    """(model at its toy size, its variables)."""
    model = methods.build(name, **methods.toy_fields(name, {}))
    init = functools.partial(model.init, jax.random.key(0))
    variables = jitted(init)(SUPPORT, SQUARE, QUERY)
    variables.pop("losses", None)
    if "params" in variables:  # a fresh last layer may be zero, and hide everything before it
        variables["params"] = reference.random_variables(variables["params"])
    return model, variables


@functools.cache
def half(name, which):
    model, _ = network(name)
    return jitted(functools.partial(model.apply, method=which))


def answer(name, image=SUPPORT, mask=SQUARE, query=QUERY):
    _, variables = network(name)
    task = half(name, "condition")(variables, image, mask)
    return np.asarray(half(name, "segment")(variables, task, query))


@of_methods(FEW_SHOT)
def test_it_is_declared(name):
    kind = methods.get(name)
    assert issubclass(kind, nn.Module) and kind.__doc__
    model, variables = network(name)
    assert model.preprocessing in imaging.PREPROCESSING
    assert set(methods.toy_fields(name, {})) <= methods.fields(kind)
    assert not kind.tuned or kind.tuned in methods.fields(kind)
    assert not kind.stands_on or methods.get(kind.stands_on).trained
    for own in kind.own_losses.values():
        assert callable(getattr(kind, own))
    assert kind.trained <= ("params" in variables)
    assert sum(x.size for x in jax.tree.leaves(variables)) < 20_000_000, "a toy is small"


@of_methods(FEW_SHOT)
def test_logits_of_every_query_are_finite_and_repeatable(name):
    logits = answer(name)
    assert logits.shape == (1, QUERIES, SIDE, SIDE) and logits.dtype == np.float32
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, answer(name))
    assert np.ptp(logits) > 0, "an answer that depends on nothing"


@of_methods(FEW_SHOT)
def test_halves_are_the_whole(name):
    model, variables = network(name)
    whole = jitted(model.apply)(variables, SUPPORT, SQUARE, QUERY)
    np.testing.assert_allclose(whole, answer(name), rtol=1e-3, atol=1e-4 * np.abs(whole).max())


@of_methods(FEW_SHOT)
def test_a_query_is_answered_alone_as_among_others(name):
    if methods.build(name, **methods.toy_fields(name, {})).normalized_together:
        pytest.skip("declares that what is seen together is normalized together")
    both, second = answer(name), answer(name, query=QUERY[:, 1:])
    # Untrained logits can be small differences of large activations (guided: 5e-4): rounding of these.
    rounding = 4e-6
    atol = 1e-3 * np.abs(both).max() + rounding
    np.testing.assert_allclose(both[:, 1:], second, rtol=1e-3, atol=atol)


@of_methods([n for n in FEW_SHOT if not methods.get(n).order_matters])
def test_the_order_of_shots_does_not_matter(name):
    one, other = answer(name), answer(name, SUPPORT[:, ::-1], SQUARE[:, ::-1])
    # A threshold that is chosen among ranks may turn on a rounding error, and shift all logits a little.
    assert ((one > 0) == (other > 0)).mean() > 0.99
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("marked", [0.0, 1.0])
@of_methods(FEW_SHOT)
def test_a_mask_of_nothing_or_everything_gets_a_finite_answer(name, marked):
    assert np.isfinite(answer(name, mask=jnp.full_like(SQUARE, marked))).all()


@of_methods(having("takes_undecided"))
def test_what_is_undecided_is_left_out(name):
    undecided = SQUARE.at[:, :, :, 14:].set(-1.0)
    logits = answer(name, mask=undecided)
    assert np.isfinite(logits).all()
    if np.array_equal(answer(name), answer(name, mask=1 - SQUARE)):
        pytest.skip("looks at no mask")
    assert not np.array_equal(logits, answer(name)), "-1 was taken for background"
    assert np.isfinite(answer(name, mask=jnp.full_like(SQUARE, -1))).all()


@of_methods(having("merge"))
def test_merged_tasks_of_single_shots_answer_as_all_together(name):
    model, variables = network(name)
    if model.normalized_together:
        pytest.skip("declares that what is seen together is normalized together")
    condition = half(name, "condition")
    single = [
        condition(variables, SUPPORT[:, k : k + 1], SQUARE[:, k : k + 1]) for k in range(SHOTS)
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *single)
    logits = half(name, "segment")(variables, model.merge(stacked), QUERY)
    together = answer(name)
    np.testing.assert_allclose(logits, together, rtol=1e-3, atol=1e-3 * np.abs(together).max())


@of_methods(having("update"))
def test_more_annotation_gives_another_finite_answer(name):
    _, variables = network(name)
    task = half(name, "condition")(variables, SUPPORT, SQUARE)
    clicks = jnp.full((1, QUERIES, SIDE, SIDE), -1.0).at[:, :, 16, 16].set(1.0)
    more = half(name, "update")(variables, task, QUERY, clicks)
    assert jax.tree.structure(more) == jax.tree.structure(task)
    assert np.isfinite(half(name, "segment")(variables, more, QUERY)).all()


@of_methods(having("call_ways"))
def test_several_classes_at_once_have_scores_each(name):
    _, variables = network(name)
    image, mask = (jnp.stack([x, x[:, ::-1]], 1) for x in (SUPPORT, SQUARE))
    scores = half(name, "call_ways")(variables, image, mask, QUERY)
    assert scores.shape == (1, QUERIES, 3, SIDE, SIDE) and np.isfinite(scores).all()


@of_methods([n for n in FEW_SHOT if methods.get(n).trained])
def test_a_loss_has_gradients_for_it(name):
    model, variables = network(name)

    def loss(params):
        logits, _ = model.apply(
            variables | {"params": params}, SUPPORT, SQUARE, QUERY, train=True,
            mutable=["batch_stats", "losses"], rngs={"dropout": jax.random.key(1)},
        )  # fmt: skip
        return jnp.mean(jax.nn.softplus(-logits))

    slopes = jax.tree.leaves(jitted(jax.grad(loss))(variables["params"]))
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert any(np.any(slope != 0) for slope in slopes)


@of_methods(FEW_SHOT)
def test_it_can_be_exported(name):
    """As `fss export` does: any number of episodes, of queries, and of shots where it says so."""
    model, variables = network(name)
    sizes = {"support_size": SIDE, "query_size": SIDE}
    shots = None if model.any_shots else SHOTS
    halves = stablehlo.export_halves(model, variables, shots=shots, **sizes)
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    condition, segment = (
        jax.export.deserialize(halves[which]).call for which in ("condition", "segment")
    )
    again = np.asarray(segment(flat, condition(flat, SUPPORT, SQUARE), QUERY))
    whole = answer(name)
    close = np.isclose(again, whole, rtol=1e-2, atol=2e-3 * np.abs(whole).max())
    # A logit of a probability near 0 or 1 has few digits: a few of them may differ by more.
    assert close.mean() > 0.998
    close |= np.isclose(*map(scipy.special.expit, (again, whole)), rtol=0, atol=1e-3)
    assert close.all()
    if shots:
        with pytest.raises(ValueError, match="--shots"):
            stablehlo.export_halves(model, variables, **sizes)
