"""The Siamese network: against numpy loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods.siamese import Siamese, weighted_l1

FIELDS = {"geometry": "dilated4", "blocks": ((1, 8), (1, 8)), "hidden": 12, "fc6_size": 1}
FIELDS |= {"preprocessing": "centered", "dropout": 0.0}


def episode(seed=0):
    rng = np.random.default_rng(seed)
    support, query = (rng.uniform(0, 255, (2, n, 16, 16, 3)).astype(np.float32) for n in (2, 1))
    masks = np.zeros((2, 3, 16, 16), np.float32)
    masks[0, 0, 4:12, 2:9] = masks[0, 1, 8:, 8:] = masks[1, :, :7, 5:] = 1
    return tuple(map(jnp.asarray, (support, masks[:, :2], query, masks[:, 2:])))


@functools.cache
def variables_of():
    support, mask, query, _ = episode()
    shapes = jax.eval_shape(Siamese(**FIELDS).init, jax.random.key(0), support, mask, query)
    variables = reference.random_variables({"params": shapes["params"]})
    variables["params"]["kernel"] = -jnp.abs(variables["params"]["kernel"])
    return variables


def encoded(image):
    """float64 cells [b, n * 16, 12] by the module's own network."""
    x = Siamese(**FIELDS).apply(variables_of(), image, method="encode")
    return np.asarray(x, np.float64).reshape(2, -1, 12)


def majority(mask):
    cells = np.asarray(mask).reshape(2, -1, 4, 4, 4, 4).transpose(0, 1, 2, 4, 3, 5)
    return (cells.reshape(2, -1, 16).mean(-1) > 0.5).astype(int)


def test_weighted_l1_equals_a_loop():
    rng = np.random.default_rng(0)
    query, support, weight = (
        rng.standard_normal(s).astype(np.float32) for s in ((5, 7), (11, 7), 7)
    )
    expected = [[(np.abs(q - s) * weight).sum() for s in support] for q in query]
    for block in (4, 64):
        found = weighted_l1(*map(jnp.asarray, (query, support, weight)), block=block)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_matching_equals_a_loop():
    support, mask, query, _ = episode()
    logits = reference.compiled(Siamese(**FIELDS).apply)(variables_of(), support, mask, query)
    weight = np.asarray(variables_of()["params"]["kernel"], np.float64)
    label = majority(mask)
    for b in range(2):
        for i, q in enumerate(encoded(query)[b]):
            best = max(
                (float((np.abs(q - s) * weight).sum()), label[b, j])
                for j, s in enumerate(encoded(support)[b])
            )
            row, col = divmod(i, 4)
            # The middle of a cell is where four pixels meet, each 3/4 and 1/4 along both axes.
            middle = np.asarray(logits)[b, 0, 4 * row + 1 : 4 * row + 3, 4 * col + 1 : 4 * col + 3]
            if (middle > 0).all() or (middle <= 0).all():
                assert (middle > 0).all() == (best[1] == 1)


@pytest.mark.slow
def test_pair_loss_equals_a_loop():
    support, mask, query, query_mask = episode()
    model = Siamese(**FIELDS)
    loss = model.apply(
        variables_of(), support, mask, query, query_mask, train=False, method="pair_loss"
    )
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables_of()["params"])
    label, truth = majority(mask), majority(query_mask)
    each = []
    for b in range(2):
        for i, q in enumerate(encoded(query)[b]):
            for j, s in enumerate(encoded(support)[b]):
                logit = (np.abs(q - s) * params["kernel"]).sum() + params["bias"]
                each.append(np.logaddexp(0, -logit if truth[b, i] == label[b, j] else logit))
    np.testing.assert_allclose(loss, np.mean(each), rtol=1e-5)


def test_training_looks_at_half_of_the_cells_and_test_at_a_fixed_share():
    support, mask, query, _ = episode()
    model = Siamese(**FIELDS, keep=0.3)
    task = model.apply(variables_of(), support, mask, method="condition")
    assert task["features"].shape == (2, 10, 12) and task["label"].shape == (2, 10)
    again = model.apply(variables_of(), support, mask, method="condition")
    np.testing.assert_array_equal(task["features"], again["features"])
    kept = [
        np.asarray(
            model.apply(
                variables_of(),
                support,
                mask,
                train=True,
                rngs={"dropout": jax.random.key(n)},
                method="condition",
            )["label"]
            >= 0
        )
        for n in range(8)
    ]
    assert 0.4 < np.mean(kept) < 0.6 and len({k.tobytes() for k in kept}) > 1


@pytest.mark.slow
def test_every_parameter_but_the_bias_is_trained_through_the_logits():
    support, mask, query, query_mask = episode()
    model = Siamese(**FIELDS)

    def loss(params, method, extra):
        out = model.apply({"params": params}, support, mask, query, *extra, train=True,
                          rngs={"dropout": jax.random.key(0)}, method=method)  # fmt: skip
        return jnp.square(out).sum()

    params = variables_of()["params"]
    for method, extra in (("__call__", ()), ("pair_loss", (query_mask,))):
        gradient = reference.compiled(jax.grad(lambda p, m=method, e=extra: loss(p, m, e)))(params)
        still = [
            jax.tree_util.keystr(path)
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
            if not np.abs(leaf).max() > 0
        ]
        assert still == (["['bias']"] if method == "__call__" else [])
