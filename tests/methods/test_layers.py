"""Layers against float64 definitions, and the statistics of BatchNorm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods import layers
from fss_jax.methods.layers import convolution, normalization


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def flat(x):
    return np.asarray(x, np.float64).reshape(-1, *x.shape[-3:])


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel": 3},
        {"kernel": 3, "stride": 2},
        {"kernel": 3, "dilation": 2},
        {"kernel": 7, "stride": 2},
        {"kernel": (1, 7)},
        {"kernel": 1},
        {"kernel": 1, "stride": 2},
        {"kernel": 3, "padding": 0, "use_bias": False},
        {"kernel": (1, 7), "stride": 2, "dilation": 2},
    ],
)
def test_conv(fields):
    x = normal(2, 3, 9, 11, 4)
    conv = layers.Conv(5, bias_init=jax.nn.initializers.normal(1.0), **fields)
    y, variables = conv.init_with_output(jax.random.key(0), x)
    keys = {k: v for k, v in fields.items() if k in ("stride", "dilation", "padding")}
    expected = reference.conv(flat(x), reference.float64(variables["params"]), **keys)
    np.testing.assert_allclose(flat(y), expected, atol=1e-5)


def kernel_gradient(x, slope, size, stride=1, dilation=1, padding=None):
    """Of the sum of slope times a convolution, by its definition in float64."""
    pads = [k // 2 * dilation if padding is None else padding for k in size]
    x = np.pad(flat(x), ((0, 0), *((p, p) for p in pads), (0, 0)))
    slope = flat(slope)
    down, across = (stride * (n - 1) + 1 for n in slope.shape[1:3])
    taps = [
        [
            np.einsum("bhwc,bhwf->cf", x[:, i : i + down : stride, j : j + across : stride], slope)
            for j in range(0, size[1] * dilation, dilation)
        ]
        for i in range(0, size[0] * dilation, dilation)
    ]
    return np.array(taps)


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel": (3, 3)},
        {"kernel": (3, 3), "stride": 2},
        {"kernel": (3, 3), "dilation": 3},
        {"kernel": (7, 7), "stride": 2, "padding": 0},
        {"kernel": (1, 5), "stride": 2, "dilation": 2},
    ],
)
@pytest.mark.parametrize(  # as one product, tap by tap, as XLA does it
    "cache, instructions", [(1 << 20, {"avx512f"}), (0, {"avx2"}), (0, {"avx512f"})]
)
def test_the_gradient_of_a_kernel(fields, cache, instructions, monkeypatch):
    monkeypatch.setattr(convolution, "CACHE", cache)
    monkeypatch.setattr(convolution.processor, "instructions", lambda: instructions)
    x = normal(2, 3, 13, 12, 4)
    conv = layers.Conv(5, use_bias=False, **fields)
    y, variables = conv.init_with_output(jax.random.key(0), x)
    slope = normal(*y.shape, seed=1)

    @jax.jit
    def gradient(variables, x, slope):
        return jax.vjp(lambda v: conv.apply(v, x), variables)[1](slope)[0]["params"]["kernel"]

    keys = {k: v for k, v in fields.items() if k in ("stride", "dilation", "padding")}
    expected = kernel_gradient(x, slope, fields["kernel"], **keys)
    np.testing.assert_allclose(gradient(variables, x, slope), expected, rtol=1e-5, atol=1e-4)
    # Episodes apart, as a method's own loop over them has it.
    each = jax.vmap(gradient, (None, 0, 0))(variables, x, slope)
    np.testing.assert_allclose(each.sum(0), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size,stride,padding", [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1)])
def test_max_pool(size, stride, padding):
    x = normal(2, 3, 13, 12, 2)
    y = layers.max_pool(x, size, stride, padding)
    np.testing.assert_array_equal(flat(y), reference.max_pool(flat(x), size, stride, padding))


def test_ceil_pooling_keeps_the_incomplete_window():
    x = normal(1, 7, 6, 2)
    y = layers.max_pool(x, 2, 2, ceil=True)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=-np.inf)
    np.testing.assert_array_equal(y, reference.max_pool(padded))


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("out", [(10, 14), (1, 3), (5, 7), (13, 4)])
def test_resize(out, align_corners):
    x = normal(2, 1, 5, 7, 3)
    y = layers.resize(x, out, align_corners=align_corners)
    expected = reference.resize(flat(x), *out, align_corners)
    np.testing.assert_allclose(flat(y), expected, atol=1e-5)
    if out[0] > 1 and align_corners:
        np.testing.assert_allclose(y[..., 0, 0, :], x[..., 0, 0, :], atol=1e-6)
        np.testing.assert_allclose(y[..., -1, -1, :], x[..., -1, -1, :], atol=1e-5)


def test_nearest():
    x = normal(1, 2, 3, 1)
    y = layers.nearest_x2(x)
    np.testing.assert_array_equal(y[0, :, :, 0], np.kron(x[0, :, :, 0], np.ones((2, 2))))


def run_norm(statistics, x, *, train, **fields):
    norm = layers.BatchNorm(statistics, **fields)
    variables = norm.init(jax.random.key(0), x)
    return norm.apply(variables, x, train=train, mutable=["batch_stats"])


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("statistics", normalization.STATISTICS)
def test_norm_uses_the_statistics_it_names(statistics, train):
    x = 3.0 * normal(2, 3, 4, 5, 6) + jnp.arange(2.0).reshape(2, 1, 1, 1, 1)
    y, state = run_norm(statistics, x, train=train)
    plain = {"scale": np.ones(6), "bias": np.zeros(6)}
    together = reference.norm(flat(x), plain).reshape(x.shape)
    alone = np.stack([reference.norm(flat(episode), plain) for episode in x])
    untouched = x / np.sqrt(1 + 1e-5)
    expected = {
        "batch": together,
        "episode": alone,
        "running": together if train else untouched,
        "frozen": untouched,
    }[statistics]
    np.testing.assert_allclose(y, expected, atol=1e-4)
    moved = not np.allclose(state["batch_stats"]["mean"], 0.0)
    assert moved == (train and statistics != "frozen")
    if moved:
        np.testing.assert_allclose(
            state["batch_stats"]["mean"], 0.1 * flat(x).mean((0, 1, 2)), atol=1e-5
        )


def test_momentum_zero_keeps_the_last_batch():
    x = normal(1, 2, 4, 4, 3)
    _, state = run_norm("running", x, train=True, momentum=0.0)
    np.testing.assert_allclose(state["batch_stats"]["var"], flat(x).var((0, 1, 2)), rtol=1e-4)


@pytest.mark.slow
def test_norm_shares_training_statistics_between_devices():
    x = normal(2, 1, 3, 4, 4, 5)
    norm = layers.BatchNorm("batch", axis_name="devices")
    variables = norm.init(jax.random.key(0), x[0])
    step = jax.pmap(
        lambda x: norm.apply(variables, x, train=True, mutable=["batch_stats"]),
        axis_name="devices",
        devices=jax.devices()[:2],
    )
    y, state = step(x)
    whole, whole_state = layers.BatchNorm("batch").apply(
        variables, x.reshape(2, 3, 4, 4, 5), train=True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(np.asarray(y).reshape(whole.shape), whole, atol=1e-5)
    np.testing.assert_allclose(
        state["batch_stats"]["var"][1], whole_state["batch_stats"]["var"], rtol=1e-5
    )


def test_unknown_statistics_name_the_known_ones():
    with pytest.raises(ValueError, match="'mine': choose one of batch, episode, running, frozen"):
        run_norm("mine", normal(1, 2, 2, 3), train=False)
