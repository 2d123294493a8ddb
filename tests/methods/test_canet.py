"""CANet's iterations, attention, history and frozen backbone. tests/parity has the PyTorch forward."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers

from fss_jax.methods.canet import CANet

WIDTH = 1 / 16


def episode(k=1, q=8, side=32, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((1, k, side, side), np.float32)
    for shot in range(k):
        mask[0, shot, 5 + 4 * shot : 20, 8:30] = 1.0
    support = rng.uniform(0, 255, (1, k, side, side, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, q, side, side, 3)).astype(np.float32)
    return tuple(map(jnp.asarray, (support, mask, query)))


@functools.cache
def variables():
    shapes = jax.eval_shape(CANet(width=WIDTH).init, jax.random.key(0), *episode(k=2))
    made = reference_layers.random_variables(shapes)
    for name in ("score", "attention_1"):  # logits of a few units, no saturated attention
        made["params"][name]["kernel"] *= 0.003
    return made


@functools.cache
def applied(train=False, **fields):
    model = CANet(width=WIDTH, **{"dropout": 0.0, "iterations": 1, **fields})
    rngs = {"dropout": jax.random.key(3)} if train else None
    return reference_layers.compiled(functools.partial(model.apply, train=train, rngs=rngs))


@pytest.mark.slow
def test_order_of_shots_is_irrelevant_and_repeats_change_nothing():
    support, mask, query = episode(k=2)
    straight = applied()(variables(), support, mask, query)
    swapped = applied()(variables(), support[:, ::-1], mask[:, ::-1], query)
    np.testing.assert_allclose(straight, swapped, atol=1e-4)
    once = applied()(variables(), support[:, :1], mask[:, :1], query)
    twice = applied()(
        variables(), jnp.repeat(support[:, :1], 2, 1), jnp.repeat(mask[:, :1], 2, 1), query
    )
    np.testing.assert_allclose(once, twice, atol=1e-4)
    assert np.abs(once - straight).max() > 1e-3


@pytest.mark.slow
def test_attention_on_one_shot_leaves_that_shot():
    support, mask, query = episode(k=2)
    sure = jax.tree.map(lambda leaf: leaf, variables())
    sure["params"]["attention_1"]["kernel"] = 1e5 * sure["params"]["attention_1"]["kernel"]
    both = applied()(sure, support, mask, query)
    shots = (slice(0, 1), slice(1, 2))
    alone = [applied()(sure, support[:, shot], mask[:, shot], query) for shot in shots]
    off = [np.abs(both - logits).max((0, 2, 3)) for logits in alone]  # of each query
    assert (np.minimum(*off) < 1e-3).all() and (np.maximum(*off) > 1e-3).all()


@pytest.mark.slow
def test_training_reads_one_prediction_or_an_empty_history_for_each_query():
    data = episode()
    trained = applied(train=True, history_dropout=0.5)(variables(), *data)
    empty = np.abs(trained - applied(iterations=0)(variables(), *data)).max((0, 2, 3)) < 1e-4
    once = np.abs(trained - applied(iterations=1)(variables(), *data)).max((0, 2, 3)) < 1e-4
    assert (empty ^ once).all()
    assert 0 < once.sum() < len(once)


@pytest.mark.slow
def test_scales_are_averaged():
    data = episode()
    one, small, both = (
        applied(scales=scales, iterations=0)(variables(), *data)
        for scales in ((1.0,), (0.7,), (0.7, 1.0))
    )
    assert small.shape == both.shape == one.shape
    mean = (jax.nn.sigmoid(one) + jax.nn.sigmoid(small)) / 2
    np.testing.assert_allclose(jax.nn.sigmoid(both), mean, atol=1e-4)


@pytest.mark.slow
def test_features_of_the_frozen_backbone_stand_for_images():
    support, mask, query = episode(q=2)
    model = CANet(width=WIDTH, iterations=1)

    @reference_layers.compiled
    def known(variables, support, query):
        seen = [model.apply(variables, x, method="encoded") for x in (support, query)]
        return model.apply(variables, seen[0], mask, seen[1])

    found = known(variables(), support, query)
    np.testing.assert_allclose(found, applied()(variables(), support, mask, query), atol=1e-4)


def test_features_are_of_one_scale_and_of_a_backbone_that_stays():
    assert CANet().frozen == ("encoder",)
    assert CANet(backbone_learns=True).frozen == CANet(batch_norm="running").frozen == ()
    support, mask, query = episode(q=1)
    model = CANet(width=WIDTH, scales=(0.7, 1.0))

    def known(support, query):
        seen = [model.apply(variables(), x, method="encoded") for x in (support, query)]
        return model.apply(variables(), seen[0], mask, seen[1])

    with pytest.raises(ValueError, match=r"scales \(0.7, 1.0\) with features.*config.features=''"):
        jax.eval_shape(known, support, query)


@pytest.mark.slow
@pytest.mark.parametrize("learns", [True, False])
def test_the_backbone_learns_only_if_told(learns):
    model = CANet(width=WIDTH, backbone_learns=learns)
    support, mask, _ = episode()

    def guide(encoder):
        params = {**variables()["params"], "encoder": encoder}
        return model.apply(
            {**variables(), "params": params}, support, mask, method="condition"
        ).sum()

    slopes = reference_layers.compiled(jax.grad(guide))(variables()["params"]["encoder"])
    moved = [np.abs(slope).max() for slope in jax.tree.leaves(slopes)]
    assert np.isfinite(moved).all()
    assert (max(moved) > 0) == learns


@pytest.mark.slow
def test_gradients_reach_the_whole_head():
    model, data = CANet(width=WIDTH), episode(k=2, q=1)

    def loss(params):
        logits = model.apply(
            {**variables(), "params": params},
            *data,
            train=True,
            rngs={"dropout": jax.random.key(1)},
        )
        return jnp.square(logits - 1.0).mean()

    gradients = reference_layers.compiled(jax.grad(loss))(variables()["params"])
    gradients.pop("encoder")
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


@pytest.mark.slow
def test_an_empty_mask_gives_finite_logits():
    support, mask, query = episode()
    assert np.isfinite(applied()(variables(), support, 0 * mask, query)).all()


@pytest.mark.slow
def test_full_size():
    """torchvision's ResNet-50 up to layer3 has 8,543,296 parameters; 321 pixels give 41 cells."""
    shapes = [(1, 5, 321, 321, 3), (1, 5, 321, 321), (1, 2, 321, 321, 3)]
    data = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    logits, made = jax.eval_shape(CANet().init_with_output, jax.random.key(0), *data)
    assert (logits.shape, logits.dtype) == ((1, 2, 321, 321), jnp.float32)
    encoder = jax.tree.leaves(made["params"]["encoder"])
    assert sum(math.prod(p.shape) for p in encoder) == 8_543_296
    assert made["params"]["reduce"]["kernel"].shape == (3, 3, 1536, 256)
    assert made["params"]["aspp_merge"]["kernel"].shape == (1, 1, 1280, 256)
