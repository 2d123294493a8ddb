"""OSLSM: against the float64 reference in value and gradient, and the properties that it must have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import reference_oslsm as reference

from fss_jax import methods
from fss_jax.methods.oslsm import OSLSM

# The published networks at the least width, with fewer convolutions a block (test_vgg has them all),
# and the form that trains from scratch in minutes.
SHORT = ((1, 64), (1, 128), (1, 256), (1, 512), (1, 512))
FORMS = {
    "release": {"geometry": "release", "hash_form": "separate", "blocks": SHORT},
    "paper": {"geometry": "paper", "hash_form": "joint", "blocks": SHORT},
    "small": {
        "geometry": "dilated4",
        "blocks": ((1, 64), (1, 128), (2, 128)),
        "norm": "batch",
        "fc6_size": 3,
        "logit_scale": "sqrt",
        "preprocessing": "centered",
    },
}


def network(form, **fields):
    return OSLSM(width=1 / 256, num_outputs=12, dropout=0.0, **FORMS[form] | fields)


def episode(b=1, k=1, q=1, support=64, query=(33, 45), seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((b, k, support, support))
    mask[:, :, support // 4 : support // 2, support // 8 : support // 2] = 1.0
    images = (
        rng.uniform(0, 255, (b, k, support, support, 3)),
        rng.uniform(0, 255, (b, q, *query, 3)),
    )
    return tuple(jnp.asarray(x, jnp.float32) for x in (images[0], mask, images[1]))


@functools.cache
def variables_of(form):
    shapes = jax.eval_shape(network(form).init, jax.random.key(0), *episode())
    variables = reference_layers.random_variables({k: v for k, v in shapes.items() if k != "hash"})
    tables = {}
    for seed, (name, table) in enumerate(shapes["hash"]["hashing"].items()):
        rng = np.random.default_rng(seed)
        kappa = rng.integers(12, size=table["kappa"].shape, dtype=np.int32)
        zeta = rng.choice(np.array([-1, 1], np.int8), table["zeta"].shape)
        tables[name] = {"kappa": jnp.asarray(kappa), "zeta": jnp.asarray(zeta)}
    return variables | {"hash": {"hashing": tables}}


@functools.cache
def applied(form, method="__call__"):
    return reference_layers.compiled(functools.partial(network(form).apply, method=method))


def expected(form, params, images):
    variables = reference_layers.float64(variables_of(form))
    return reference.oslsm(
        params,
        variables_of(form)["hash"]["hashing"],
        *reference_layers.float64(dict(enumerate(images))).values(),
        geometry=FORMS[form]["geometry"],
        stats=variables.get("batch_stats"),
        small=form == "small",
    )


@pytest.mark.parametrize(
    "form,shots,queries,size",
    [
        ("release", 1, 1, (33, 45)),
        ("paper", 3, 2, (21, 64)),
        ("small", 1, 1, (33, 45)),
        ("small", 3, 1, (33, 45)),
    ],
)
def test_logits_equal_the_reference(form, shots, queries, size):
    images = episode(2, shots, queries, query=size)
    logits = applied(form)(variables_of(form), *images)
    assert logits.shape == (2, queries, *size) and logits.dtype == jnp.float32
    params = reference_layers.float64(variables_of(form)["params"])
    value = expected(form, params, images)
    assert 0.01 < (value > 0).mean() < 0.99 or np.abs(value).max() > 1e-3
    np.testing.assert_allclose(logits, value, atol=2e-4 * np.abs(value).max())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["release", "small"])
def test_gradient_equals_the_reference(form):
    """Along random directions through all parameters, against central differences in float64."""
    images = episode(1, 2, 1, query=(17, 21))
    variables = variables_of(form)
    rng = np.random.default_rng(3)
    pull = rng.standard_normal((1, 1, 17, 21))

    def loss(params):
        logits = network(form).apply({**variables, "params": params}, *images)
        return (logits * jnp.asarray(pull, jnp.float32)).sum()

    gradient = reference_layers.float64(
        reference_layers.compiled(jax.grad(loss))(variables["params"])
    )
    params = reference_layers.float64(variables["params"])
    for branch in ("conditioning", "segmentation"):
        direction = jax.tree.map(np.zeros_like, params)
        direction[branch] = jax.tree.map(
            lambda leaf: rng.standard_normal(leaf.shape) * (np.abs(leaf).mean() + 1e-3),
            params[branch],
        )
        slopes = []
        for step in (-1e-6, 1e-6):
            moved = jax.tree.map(lambda p, d, step=step: p + step * d, params, direction)
            slopes.append((expected(form, moved, images) * pull).sum())
        slope = (slopes[1] - slopes[0]) / 2e-6
        along = jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)
        total = sum(jax.tree.leaves(along))
        scale = np.linalg.norm(jax.tree.leaves(along))
        assert abs(slope) > 1e-3 * scale
        np.testing.assert_allclose(total, slope, atol=2e-3 * scale)


@pytest.fixture(scope="module")
def three_shots():
    return episode(2, 3, 1)


def test_permuting_shots_changes_nothing(three_shots):
    support, mask, query = three_shots
    order = jnp.array([2, 0, 1])
    before = applied("small")(variables_of("small"), support, mask, query)
    after = applied("small")(variables_of("small"), support[:, order], mask[:, order], query)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_k_shot_is_the_union_of_one_shot_masks(three_shots):
    support, mask, query = three_shots
    run, variables = applied("small"), variables_of("small")
    each = jnp.stack(
        [run(variables, support[:, k : k + 1], mask[:, k : k + 1], query) for k in range(3)]
    )
    together = run(variables, *three_shots)
    np.testing.assert_allclose(together, each.max(0), atol=1e-5)
    union = (each > 0).any(0)
    assert (union == (together > 0)).all()
    assert union.any() and (union != (each[0] > 0)).any(), "the shots disagree somewhere"


def test_duplicated_shots_are_one_shot(three_shots):
    support, mask, query = three_shots
    run, variables = applied("small"), variables_of("small")
    one = run(variables, support[:, :1], mask[:, :1], query)
    copies = run(variables, *(jnp.repeat(x[:, :1], 3, axis=1) for x in (support, mask)), query)
    np.testing.assert_allclose(copies, one, atol=1e-6)


def test_without_a_mask_the_support_image_is_not_seen(three_shots):
    support, mask, query = three_shots
    run, variables = applied("small"), variables_of("small")
    a = run(variables, support, jnp.zeros_like(mask), query)
    b = run(variables, 255 - support, jnp.zeros_like(mask), query)
    assert (a == b).all()
    assert (a != run(variables, support, mask, query)).any()


@pytest.mark.slow
def test_a_masked_pixel_is_the_mean_color(three_shots):
    """The mask comes after the mean is subtracted (protocols.md A.4)."""
    support, mask, _ = three_shots
    painted = jnp.where(mask[..., None] > 0, support, 127.5)
    run, variables = applied("small", "condition"), variables_of("small")
    masked, whole = run(variables, support, mask), run(variables, painted, jnp.ones_like(mask))
    np.testing.assert_allclose(masked["w"], whole["w"], atol=1e-5)


def test_a_task_serves_any_query(three_shots):
    """`segment` under a kept task equals the whole call, query by query, at another size too."""
    support, mask, query = three_shots
    variables = variables_of("small")
    task = applied("small", "condition")(variables, support, mask)
    assert task["w"].shape == (2, 3, 16) and task["b"].shape == (2, 3)
    logits = applied("small", "segment")(variables, task, query)
    np.testing.assert_allclose(logits, applied("small")(variables, *three_shots), atol=1e-5)
    other = jax.eval_shape(applied("small", "segment"), variables, task, query[:, :, :20])
    assert other.shape == (2, 1, 20, 45)


@pytest.mark.slow
def test_training_updates_statistics_and_never_the_hash():
    images = episode(2, 2, 1)
    model, variables = network("small"), variables_of("small")
    _, updated = reference_layers.compiled(
        lambda v: model.apply(v, *images, train=True, mutable=["batch_stats", "hash"])
    )(variables)
    same = jax.tree.map(lambda a, b: (a == b).all(), updated["hash"], variables["hash"])
    assert all(jax.tree.leaves(same))
    moved = jax.tree.map(
        lambda a, b: (a != b).any(), updated["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_bfloat16_gives_float32_tasks_and_logits():
    images = episode()
    variables = variables_of("small")
    model = network("small", dtype="bfloat16")
    task = jax.eval_shape(
        functools.partial(model.apply, method="condition"), variables, *images[:2]
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(task)} == {jnp.dtype(jnp.float32)}
    assert jax.eval_shape(model.apply, variables, *images).dtype == jnp.float32


def test_alexnet_in_both_branches():
    model = methods.build("oslsm", backbone="alexnet", width=1 / 64, num_outputs=12)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *episode(support=224))
    assert sorted(shapes["params"]) == ["conditioning", "segmentation"]
    assert shapes["params"]["segmentation"]["fc6"]["kernel"].shape[:2] == (6, 6)
    logits = jax.eval_shape(model.apply, shapes, *episode(2, 5, 3, support=224, query=(375, 500)))
    assert logits.shape == (2, 3, 375, 500)


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"backbone": "vgg61"}, "unknown backbone 'vgg61': did you mean 'vgg16'"),
        ({"backbone": "alexnet", "norm": "batch"}, "'alexnet' takes no blocks, norm or remat"),
        (
            {"backbone": "alexnet", "geometry": "dilated8"},
            "AlexNet has a stride of 32 pixels, not 8",
        ),
        ({"geometry": "fcn"}, "geometry 'fcn': choose one of release, paper"),
        ({"hash_form": "two"}, "hash form 'two': choose one of joint, separate"),
        ({"logit_scale": "log"}, "logit_scale 'log': choose one of none, sqrt, cosine"),
        ({"blocks": [[1, 64]], "geometry": "paper"}, "1 blocks cannot have a stride of 32"),
    ],
)
def test_unknown_names_in_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        model = methods.build("oslsm", width=1 / 64, **fields)
        jax.eval_shape(model.init, jax.random.key(0), *episode())


def test_build_names_what_is_known():
    with pytest.raises(ValueError, match="unknown method 'oslms': did you mean 'oslsm'.*relation"):
        methods.build("oslms")
    with pytest.raises(
        ValueError, match="unknown field .* 'widht': did you mean 'width'.*geometry"
    ):
        methods.build("oslsm", widht=2.0)


@pytest.mark.slow
def test_cosine_logits_do_not_depend_on_how_large_the_weights_are():
    model, variables = network("small", logit_scale="cosine"), variables_of("small")
    support_image, support_mask, query = episode()
    task = model.apply(variables, support_image, support_mask, method="condition")
    scaled = {"w": 7.0 * task["w"], "b": task["b"]}
    logits, same = (model.apply(variables, t, query, method="segment") for t in (task, scaled))
    np.testing.assert_allclose(logits, same, atol=1e-3)
    bias = task["b"].reshape(1, 1, 1, 1)
    assert 0 < jnp.abs(logits - bias).max() <= 20.0
