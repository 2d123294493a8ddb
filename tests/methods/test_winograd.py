"""The CPU's 3x3 convolution against XLA's, and against a sum over the nine taps in float64."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax.methods.layers import Conv, winograd
from fss_jax.runtime import flops, memory


def taps(x, kernel):
    """The convolution by its definition."""
    h, w = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + h, j : j + w] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("b, h, w", [(1, 6, 8), (2, 7, 5), (3, 1, 1), (1, 2, 9)])
def test_it_is_the_convolution_at_even_and_odd_sizes(b, h, w):
    x, kernel = drawn(b, h, w, 5), drawn(3, 3, 5, 4, seed=1)
    found = jax.jit(winograd.tiled)(x, kernel)
    np.testing.assert_allclose(found, taps(x, kernel), rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("b, h, w", [(1, 6, 8), (2, 7, 5)])
def test_both_gradients_are_those_of_xla_s_convolution(b, h, w):
    x, kernel, slope = drawn(b, h, w, 5), drawn(3, 3, 5, 4, seed=1), drawn(b, h, w, 4, seed=2)
    module = Conv(4, use_bias=False)  # too few channels: XLA's

    def gradients(conv):
        return jax.jit(jax.grad(lambda x, k: (conv(x, k) * slope).sum(), (0, 1)))(x, kernel)

    expected = gradients(lambda x, k: module.apply({"params": {"kernel": k}}, x))
    for a, b in zip(gradients(winograd.conv3x3), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_wide_layers_on_large_maps_use_it_and_gradients_of_wide_layers_do():
    """On a CPU what is compiled then holds no convolution; in bfloat16, say, it does."""

    def convolves(channels, side=28, gradient=False, **fields):
        module = Conv(channels, use_bias=False, **fields)
        x = jnp.zeros((1, 1, side, side, channels))
        run, variables = module.apply, module.init(jax.random.key(0), x)
        if gradient:
            run = jax.grad(lambda variables, x: module.apply(variables, x).sum(), (0, 1))
        return " convolution(" in jax.jit(run).lower(variables, x).compile().as_text()

    assert not convolves(256)
    for fields in ({"dtype": jnp.bfloat16}, {"stride": 2}, {"dilation": 2}, {"padding": 0}):
        assert convolves(256, **fields)
    assert convolves(128) and convolves(256, side=14)
    assert not convolves(128, side=14, gradient=True)
    assert convolves(64, side=14, gradient=True)


@pytest.mark.slow
@pytest.mark.parametrize("side", [14, 28])
def test_a_layer_is_exported_with_any_number_of_images(side):
    module, (b,) = Conv(256, use_bias=False), jax.export.symbolic_shape("b")
    x = jnp.asarray(drawn(2, 1, side, side, 256))
    variables = module.init(jax.random.key(0), x)
    shape = jax.ShapeDtypeStruct((b, *x.shape[1:]), jnp.float32)
    run = jax.export.export(jax.jit(module.apply), platforms=("cpu", "cuda"))(variables, shape)
    expected = jax.jit(module.apply)(variables, x)
    np.testing.assert_allclose(run.call(variables, x), expected, rtol=1e-5, atol=1e-4)


def test_costs_are_counted_as_of_a_plain_convolution():
    """Published MACs, and the memory of a GPU, which runs XLA's convolution."""
    x, kernel = jnp.zeros((1, 28, 28, 256)), jnp.zeros((3, 3, 256, 256))
    assert flops.gmacs(winograd.conv3x3, x, kernel) == 28 * 28 * 9 * 256 * 256 / 1e9
    plain = memory.peak_bytes(winograd._plain, x, kernel)
    assert memory.peak_bytes(winograd.conv3x3, x, kernel) == plain
