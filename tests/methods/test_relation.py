"""The adapted relation network: against the float64 reference, and its properties."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import reference_relation

from fss_jax.methods import backbones
from fss_jax.methods.relation import RelationNetwork

SIDE = 64


def episode(b=1, k=3, q=2, side=SIDE, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((b, k, side, side), np.float32)
    mask[:, :, side // 4 : side // 2, side // 8 : side // 2] = 1.0
    support = rng.uniform(0, 255, (b, k, side, side, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (b, q, side, side, 3)).astype(np.float32)
    return tuple(map(jnp.asarray, (support, mask, query)))


def network(form="release", **fields):
    return RelationNetwork(form=form, width=1 / 16, **fields)


def variables_of(model):
    return _variables(model.form, model.backbone)


@functools.cache
def _variables(form, backbone):
    init = network(form, backbone=backbone).init
    shapes = jax.eval_shape(init, jax.random.key(0), *episode(k=1, q=1, side=32))
    return reference_layers.random_variables(shapes)


@functools.cache
def applied(model, train=False, method="__call__"):
    return reference_layers.compiled(
        functools.partial(model.apply, train=train, method=method, mutable=["batch_stats"])
    )


def run(model, data, *, train=False, variables=None, method="__call__"):
    return applied(model, train, method)(variables or variables_of(model), *data)


def test_release_matches_the_reference():
    model, data = network(), episode()
    logits, _ = run(model, data)
    params = reference_layers.float64(variables_of(model)["params"])
    expected = reference_relation.release(params, *(np.asarray(a[0], np.float64) for a in data))
    np.testing.assert_allclose(logits[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    "backbone,form,encoder,rest",
    [
        ("vgg16", "release", 14_723_712, 18_109_313),  # protocols.md B.1
        ("vgg16", "paper", 14_723_712, None),
        # torchvision's trunks, and 64 filters of 7x7 or 32 of 3x3 for the fourth channel.
        ("resnet101", "release", 42_500_160 + 49 * 64, None),
        pytest.param("inception_v3", "paper", 21_785_568 + 9 * 32, None, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_full_size(backbone, form, encoder, rest):
    model = RelationNetwork(backbone=backbone, form=form)
    shapes = [(2, 5, 224, 224, 3), (2, 5, 224, 224), (2, 3, 224, 224, 3)]
    data = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), *data)
    assert (logits.shape, logits.dtype) == ((2, 3, 224, 224), jnp.float32)

    def count(tree):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    params = variables["params"]
    assert count(params["encoder"]) == encoder
    if rest:
        assert count(params) - encoder == rest

    condition = functools.partial(model.apply, method="condition")
    task = jax.eval_shape(condition, variables, *data[:2])
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(task))
    assert task["feature"].shape[1:3] == (7, 7)
    skips = [name for name in backbones.get(backbone).skips if name]
    assert len(task["skips"]) == (len(skips) if form == "paper" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["paper", "release"])
def test_order_of_shots_is_irrelevant(form):
    model, (support, mask, query) = network(form), episode()
    mask = mask.at[0, 1].set(0.0)
    order = jnp.array([2, 0, 1])
    straight, _ = run(model, (support, mask, query))
    shuffled, _ = run(model, (support[:, order], mask[:, order], query))
    np.testing.assert_allclose(straight, shuffled, atol=1e-4)


@pytest.mark.slow
def test_repeated_shots_scale_the_sum_and_leave_the_mean():
    support, mask, _ = episode(k=1)
    repeated = (jnp.repeat(support, 3, 1), jnp.repeat(mask, 3, 1))
    for form, factor in (("paper", 1.0), ("release", 3.0)):
        one, _ = run(network(form), (support, mask), method="condition")
        three, _ = run(network(form), repeated, method="condition")
        np.testing.assert_allclose(three["feature"], factor * one["feature"], rtol=1e-3, atol=1e-4)
        for a, b in zip(one["skips"], three["skips"], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("form", ["paper", "release"])
def test_the_mask_matters(form):
    support, mask, query = episode()
    with_mask, _ = run(network(form), (support, mask, query))
    without, _ = run(network(form), (support, jnp.zeros_like(mask), query))
    assert np.isfinite(without).all()
    assert np.abs(with_mask - without).max() > 1e-3


def test_support_without_a_mask_is_encoded_as_a_query():
    support, mask, query = episode()
    model = network()
    task, _ = run(model, (support, jnp.zeros_like(mask)), method="condition")
    feature, _ = reference_relation.encode(
        reference_layers.float64(variables_of(model)["params"]["encoder"]),
        np.asarray(support[0], np.float64),
        np.zeros(mask.shape[1:]),
    )
    np.testing.assert_allclose(task["feature"][0], feature.sum(0), atol=1e-4)


@pytest.mark.slow
def test_episode_statistics_do_not_depend_on_the_other_episodes():
    data = episode(b=2)
    alone, _ = run(network(), tuple(a[:1] for a in data))
    for statistics, same in (("episode", True), ("batch", False)):
        together, _ = run(network(batch_norm=statistics), data)
        assert np.allclose(together[:1], alone, atol=1e-4) == same


@pytest.mark.slow
def test_queries_share_their_statistics_but_not_with_the_support():
    support, mask, query = episode()
    other = query.at[:, 1:].set(255.0 - query[:, 1:])
    model = network()
    a, _ = run(model, (support, mask, query))
    b, _ = run(model, (support, mask, other))
    assert np.abs(a[:, 0] - b[:, 0]).max() > 1e-3
    # Conditioning once and segmenting is the same as one call, whatever the other images are.
    task, _ = run(model, (support, mask), method="condition")
    c, _ = run(model, (task, other), method="segment")
    np.testing.assert_allclose(b, c, atol=1e-5)


@pytest.mark.slow
def test_running_statistics_serve_each_query_alone():
    model, (support, mask, query) = network(batch_norm="running"), episode()
    _, state = run(model, (support, mask, query), train=True)
    variables = {**variables_of(model), **state}
    both, after = run(model, (support, mask, query), variables=variables)
    other = query.at[:, 1:].set(0.0)
    one, _ = run(model, (support, mask, other), variables=variables)
    np.testing.assert_allclose(both[:, 0], one[:, 0], atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.slow
def test_gradients_are_finite_and_reach_everything():
    model, data = network(), episode()
    variables = variables_of(model)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params}, *data, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(logits - 1.0))

    gradients = jax.tree.leaves_with_path(
        reference_layers.compiled(jax.grad(loss))(variables["params"])
    )
    for path, gradient in gradients:
        assert np.isfinite(gradient).all(), path
        # BatchNorm takes away what the bias of the convolution before it adds.
        if path[-1].key != "bias":
            assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"form": "printed"}, "'printed': choose paper or release"),
        ({"backbone": "vgg"}, "did you mean 'vgg16'"),
        ({"backbone": "resnet101", "source": "caffe"}, "'caffe': choose torchvision or keras"),
        ({"batch_norm": "mean"}, "'mean': choose one of"),
    ],
)
def test_unknown_choices(fields, message):
    with pytest.raises(ValueError, match=message):
        RelationNetwork(**fields).init(jax.random.key(0), *episode())


def test_sizes_are_named():
    with pytest.raises(ValueError, match="images of 50x50 pixels: .* multiples of 32"):
        network().init(jax.random.key(0), *episode(side=50))
    task, _ = run(network(), episode()[:2], method="condition")
    with pytest.raises(ValueError, match="query images of 96x96 pixels .* 64x64"):
        run(network(), (task, episode(side=96)[2]), method="segment")


def test_the_source_of_the_weights_shapes_the_backbone():
    for source, keras in (("torchvision", False), ("keras", True)):
        assert network(backbone="resnet101", source=source).bind({}).encoder.stride_first == keras
        inception = network(backbone="inception_v3", source=source).bind({}).encoder
        assert inception.count_border != keras
