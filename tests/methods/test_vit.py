"""DINO's backbones by themselves: leading axes, grids, precision, memory; no reference needed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fss_jax.methods.backbones import convnext, vit
from fss_jax.methods.layers import depthwise
from fss_jax.methods.layers.positions import bicubic, rotate, rotation

SMALL = {"dim": 24, "depth": 2, "heads": 2, "patch": 4}
TABLE = vit.ViT(**SMALL, grid=3, registers=2, antialias=True, offset=0.0)
ROTARY = vit.ViT(**SMALL, grid=0, registers=2, key_bias=False, hidden=32, gated=True)
PYRAMID = convnext.ConvNeXt((1, 1), (8, 12))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def ready(model, side=12):
    """Variables in which every parameter matters."""
    variables = model.init(jax.random.key(0), images(1, side, side, 3))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.3 * jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [v + n for v, n in zip(leaves, noise, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("model", [TABLE, ROTARY, PYRAMID], ids=["table", "rotary", "convnext"])
def test_images_do_not_see_each_other_and_axes_stay(model):
    variables, x = ready(model, 16), images(2, 3, 16, 24, 3)
    out, features = jax.jit(model.apply)(variables, x)
    alone, _ = jax.jit(model.apply)(variables, x[1, 2])
    stride = 8 if model is PYRAMID else 4
    assert out.shape[:-1] == (2, 3, 16 // stride, 24 // stride)
    np.testing.assert_allclose(out[1, 2], alone, atol=1e-5)
    assert all(value.shape[:2] == (2, 3) for value in features.values())
    assert all(value.dtype == jnp.float32 for value in (out, *features.values()))


@pytest.mark.slow
@pytest.mark.parametrize("model", [TABLE, ROTARY], ids=["table", "rotary"])
def test_every_block_has_a_map_and_the_last_is_the_answer(model):
    variables, x = ready(model), images(1, 12, 20, 3)
    out, features = jax.jit(model.apply)(variables, x)
    assert list(features) == ["block0", "block1", "cls", "registers"]
    assert (features["block1"] == out).all() and features["registers"].shape == (1, 2, 24)
    assert not np.allclose(features["block0"], out, atol=0.1)
    shallow = model.clone(depth=1)
    params = {k: v for k, v in variables["params"].items() if k != "blocks_1"}
    np.testing.assert_allclose(
        jax.jit(shallow.apply)({"params": params}, x)[0], features["block0"], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", [TABLE, ROTARY, PYRAMID], ids=["table", "rotary", "convnext"])
def test_half_precision_keeps_the_directions(model):
    variables, x = ready(model, 16), images(2, 16, 16, 3)
    full, _ = jax.jit(model.apply)(variables, x)
    half, features = jax.jit(model.clone(dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == features["cls"].dtype == jnp.float32
    cosine = (full * half).sum(-1) / jnp.linalg.norm(full, axis=-1) / jnp.linalg.norm(half, axis=-1)
    assert cosine.min() > 0.999
    assert (full != half).any()


@pytest.mark.slow
def test_recomputing_changes_no_gradient():
    variables, x = ready(ROTARY), images(1, 12, 12, 3)

    def slopes(model):
        return jax.jit(jax.grad(lambda v: (model.apply(v, x)[0] ** 2).sum()))(variables)

    for kept, again in zip(
        jax.tree.leaves(slopes(ROTARY)),
        jax.tree.leaves(slopes(ROTARY.clone(remat=True))),
        strict=True,
    ):
        np.testing.assert_allclose(kept, again, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_attention_by_heads_is_attention():
    q, k, v = (images(2, 7, 3, 4, seed=seed) for seed in range(3))

    def value(attend):
        return jax.value_and_grad(lambda *qkv: (attend(*qkv) ** 2).sum(), (0, 1, 2))(q, k, v)

    np.testing.assert_allclose(
        vit.attend(q, k, v), jax.nn.dot_product_attention(q, k, v), atol=1e-6
    )
    for ours, theirs in zip(
        jax.tree.leaves(value(vit.attend)),
        jax.tree.leaves(value(jax.nn.dot_product_attention)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_head_at_a_time_is_in_memory():
    """On a CPU; six heads and two images have one matrix of tokens x tokens, not twelve."""
    shape = jax.ShapeDtypeStruct((2, 700, 6, 8), jnp.float32)

    def scratch(attend):
        compiled = jax.jit(attend).lower(shape, shape, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(vit.attend) < 4 * 700 * 700 * 4 < scratch(jax.nn.dot_product_attention)


@pytest.mark.slow
@pytest.mark.parametrize("model", [ROTARY, PYRAMID], ids=["vit", "convnext"])
def test_exported_models_take_any_number_of_images(model):
    variables = ready(model, 16)
    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n, 16, 16, 3), jnp.float32)
    exported = export.export(jax.jit(lambda x: model.apply(variables, x)[0]))(shape)
    x = images(3, 16, 16, 3)
    np.testing.assert_allclose(exported.call(x), model.apply(variables, x)[0], atol=1e-4)


def test_sizes_that_no_patch_fits_say_which_do():
    with pytest.raises(ValueError, match="500 x 30 pixels.*multiples of 14.*504 x 28"):
        vit.VARIANTS["dinov2_vits14"]().init(jax.random.key(0), images(1, 500, 30, 3))
    with pytest.raises(ValueError, match="20 x 40 pixels.*32 a side"):
        convnext.VARIANTS["dinov3_convnext_tiny"]().init(jax.random.key(0), images(1, 20, 40, 3))


@pytest.mark.slow
def test_rotary_positions_turn_patches_by_their_place_alone():
    turn = rotation(3, 5, 2, 8)
    x = jnp.broadcast_to(images(1, 1, 1, 8), (1, 17, 1, 8))
    y = rotate(x, turn)
    np.testing.assert_array_equal(y[:, :2], x[:, :2])  # class and register tokens
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    # Between two patches of a row only their distance counts.
    grid = y[0, 2:, 0].reshape(3, 5, 8)
    products = jnp.einsum("ric,rjc->rij", grid, grid)
    np.testing.assert_allclose(products[:, 1:, 1:], products[:, :-1, :-1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(grid[0, 0], grid[0, 1]) and not np.allclose(grid[0, 0], grid[1, 0])


def test_a_table_of_its_own_size_is_not_resized():
    np.testing.assert_allclose(bicubic(7, 7), np.eye(7), atol=1e-12)
    for antialias in (False, True):
        weights = bicubic(7, 11, antialias=antialias)
        np.testing.assert_allclose(weights.sum(1), 1.0)
        np.testing.assert_allclose(weights[::-1, ::-1], weights, atol=1e-12)
    assert not np.allclose(bicubic(7, 11, offset=0.1), bicubic(7, 11))


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 7])
def test_depthwise_convolution_and_its_gradients(size):
    x, kernel = images(2, 6, 9, 5), images(size, size, 1, 5, seed=1)

    def run(function):
        loss = jax.value_and_grad(lambda x, k: (function(x, k) ** 3).sum(), (0, 1))
        return jax.tree.leaves((function(x, kernel), loss(x, kernel)))

    found, expected = run(depthwise.depthwise), run(depthwise._plain)
    for ours, theirs in zip(found, expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)
