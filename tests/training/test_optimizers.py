"""Optimizers against Caffe's update and the papers' rules, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fss_jax.configs import base
from fss_jax.training.optimizers import held, learning_rate, make_optimizer

SHAPES = {
    "conditioning": {"conv1_1": {"kernel": (3, 3, 2, 4), "bias": (4,)}},
    "segmentation": {"fc7": {"kernel": (4, 2), "bias": (2,)}},
}
PATHS = [(branch, layer, leaf) for branch, x in SHAPES.items() for layer in x for leaf in x[layer]]
# OSLSM's release: 1 and 2 on the segmentation branch's weights and biases, 0.1 and 0.2 on the other.
RULES = (
    ("conditioning/.*/kernel", 0.1),
    ("conditioning/.*/bias", 0.2),
    (".*/bias", 2.0),
)
FACTORS = {("conditioning", "kernel"): 0.1, ("conditioning", "bias"): 0.2,
           ("segmentation", "kernel"): 1.0, ("segmentation", "bias"): 2.0}  # fmt: skip


def settings(**changes):
    config = base.get_config()
    config.update(changes)
    return config


def trees(count, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)

    def one():
        return jax.tree.map(
            lambda shape: jnp.asarray(rng.normal(0, scale, shape).astype(np.float32)),
            SHAPES,
            is_leaf=lambda x: isinstance(x, tuple),
        )

    return [one() for _ in range(count)]


def run(config, params, grads):
    """Parameters after every step."""
    optimizer = make_optimizer(config)

    @jax.jit
    def step(params, state, grad):
        updates, state = optimizer.update(grad, state, params)
        return optax.apply_updates(params, updates), state

    state, history = optimizer.init(params), []
    for grad in grads:
        params, state = step(params, state, grad)
        history.append(params)
    return history


def leaf(tree, path):
    return np.asarray(tree[path[0]][path[1]][path[2]], np.float64)


def test_the_release_s_solver_is_caffe_s():
    """SGD 0.99, decay on weights only, multipliers, and iter_size 10 (protocols.md A.9)."""
    lr, momentum, decay, iter_size = 1e-2, 0.99, 5e-4, 10
    config = settings(
        optimizer="sgd", lr=lr, momentum=momentum, weight_decay=decay, lr_multipliers=RULES,
        accumulate=iter_size,
    )  # fmt: skip
    (params,), grads = trees(1), trees(4 * iter_size, seed=1)
    history = run(config, params, grads)
    for path in PATHS:
        p, v = leaf(params, path), 0.0
        local_lr = lr * FACTORS[path[0], path[2]]
        local_decay = decay if path[2] == "kernel" else 0.0
        for update in range(4):
            window = grads[update * iter_size : (update + 1) * iter_size]
            for part in range(1, iter_size):  # nothing moves inside a window
                np.testing.assert_array_equal(
                    leaf(history[update * iter_size + part - 1], path),
                    leaf(history[update * iter_size - 1], path) if update else leaf(params, path),
                )
            g = sum(leaf(grad, path) for grad in window) / iter_size + local_decay * p
            v = momentum * v + local_lr * g
            p = p - v
            after = leaf(history[(update + 1) * iter_size - 1], path)
            np.testing.assert_allclose(after, p, rtol=2e-6, atol=1e-7)


def test_leaves_that_no_update_moves_get_no_gradient():
    (params,) = trees(1)
    rules = (("conditioning/.*/bias", 0.2), ("conditioning/.*", 0.0))
    slopes = jax.grad(lambda params: optax.tree.norm(held(params, rules), squared=True))(params)
    for path in PATHS:
        stays = path[0] == "conditioning" and path[-1] == "kernel"
        np.testing.assert_allclose(leaf(slopes, path), 0 if stays else 2 * leaf(params, path))


def test_adam_is_adam_with_the_decay_beside_it():
    lr, decay = 1e-2, 0.1
    config = settings(optimizer="adam", lr=lr, weight_decay=decay)
    (params,), grads = trees(1), trees(5, seed=2)
    history = run(config, params, grads)
    for path in PATHS:
        p, m, v = leaf(params, path), 0.0, 0.0
        for t, grad in enumerate(grads, 1):
            g = leaf(grad, path)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            p = p - lr * (step + (decay * p if path[2] == "kernel" else 0.0))
            np.testing.assert_allclose(leaf(history[t - 1], path), p, rtol=1e-4, atol=1e-6)


def orthogonal(g, steps=5):
    """Newton and Schulz's iteration as Jordan et al. (2024) print it, in float64."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def test_muon_moves_weights_by_orthogonal_matrices_and_the_rest_by_adam():
    lr, decay, momentum = 1e-2, 0.1, 0.9
    config = settings(optimizer="muon", lr=lr, weight_decay=decay, momentum=momentum)
    (params,), grads = trees(1), trees(4, seed=2)
    history = run(config, params, grads)
    adam = run(settings(optimizer="adam", lr=lr, weight_decay=decay), params, grads)
    for path in PATHS:
        if path[2] != "kernel":
            after, expected = leaf(history[-1], path), leaf(adam[-1], path)
            np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-7)
            continue
        p, m = leaf(params, path), 0.0
        for t, grad in enumerate(grads, 1):
            g = leaf(grad, path)
            m = momentum * m + (1 - momentum) * g
            ahead = momentum * m / (1 - momentum ** (t + 1)) + (1 - momentum) * g / (
                1 - momentum**t
            )
            matrix = ahead.reshape(-1, g.shape[-1])
            step = 0.2 * max(matrix.shape) ** 0.5 * orthogonal(matrix)
            p = p - lr * (step.reshape(g.shape) + decay * p)
            np.testing.assert_allclose(leaf(history[t - 1], path), p, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scale, clipped", [(10.0, True), (1e-3, False)])
def test_groups_are_clipped_apart(scale, clipped):
    """FSS-1000's release clips encoder and rest by 0.5 each (protocols.md B.2)."""
    config = settings(
        optimizer="sgd", lr=1.0, momentum=0.0, clip=0.5, clip_groups=("conditioning/.*",)
    )
    (params,), (grad,) = trees(1), trees(1, seed=3, scale=scale)
    (after,) = run(config, params, [grad])
    for branch in SHAPES:
        paths = [path for path in PATHS if path[0] == branch]
        norm = np.sqrt(sum((leaf(grad, path) ** 2).sum() for path in paths))
        assert (norm > 0.5) == clipped
        for path in paths:
            expected = leaf(params, path) - leaf(grad, path) * min(1.0, 0.5 / norm)
            np.testing.assert_allclose(leaf(after, path), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_groups_everything_is_clipped_together():
    config = settings(optimizer="sgd", lr=1.0, momentum=0.0, clip=0.5)
    (params,), (grad,) = trees(1), trees(1, seed=3)
    (after,) = run(config, params, [grad])
    moved = jax.tree.map(lambda a, b: a - b, params, after)
    assert float(optax.tree.norm(moved)) == pytest.approx(0.5, rel=1e-5)


def test_halving():
    schedule = learning_rate(settings(schedule="halving", lr=1e-3, halve_every=10))
    rates = [float(schedule(step)) for step in (0, 9, 10, 19, 20, 35)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 1.25e-4], rtol=1e-6)


def test_tenths():
    schedule = learning_rate(settings(schedule="tenths", lr=1e-3, tenth_at=(10, 20)))
    rates = [float(schedule(step)) for step in (0, 9, 10, 19, 20, 35)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-5)


def test_warm_up_is_linear_and_then_the_schedule_starts():
    schedule = learning_rate(settings(schedule="halving", lr=1.0, halve_every=10, warmup=4))
    rates = [float(schedule(step)) for step in (0, 1, 2, 4, 13, 14)]
    np.testing.assert_allclose(rates, [0, 0.25, 0.5, 1, 1, 0.5], rtol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 5])
def test_cosine_ends_at_zero_with_the_last_update(accumulate):
    config = settings(schedule="cosine", lr=1.0, steps=100, warmup=4, accumulate=accumulate)
    schedule, last = learning_rate(config), 100 // accumulate
    rates = [float(schedule(update)) for update in (4, 4 + (last - 4) // 2, last)]
    np.testing.assert_allclose(rates, [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"optimizer": "sdg"}, "unknown config.optimizer 'sdg'; expected one of sgd, adam, muon"),
        ({"optimizer": "muon", "shard_optimizer": True}, "'muon' needs whole matrices"),
        ({"schedule": "linear"}, "expected one of constant, cosine, halving"),
    ],
)
def test_unknown_names_are_told(changes, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        make_optimizer(settings(**changes))
    assert said in str(error.value)
