"""InceptionV3 against a float64 forward written branch by branch, and torchvision's sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods.backbones.inception import InceptionV3


def reference_inception(variables, x, padded):
    """The last map by running statistics; x is [n, h, w, c]."""
    variables = reference.float64(variables)
    margin = 1 if padded else 0

    def conv(x, path, stride=1, padding=None):
        params, stats = variables["params"], variables["batch_stats"]
        for name in path.split("."):
            params, stats = params[name], stats[name]
        kernel = params["conv"]["kernel"]
        if padding is None:  # keeps the size, also for 1x7 and 7x1
            ph, pw = kernel.shape[0] // 2, kernel.shape[1] // 2
            x, padding = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0))), 0
        x = reference.conv(x, params["conv"], stride, padding=padding)
        return reference.relu(reference.norm(x, params["bn"], stats["bn"], epsilon=1e-3))

    def chain(x, block, *names):
        for name in names:
            x = conv(x, f"{block}.{name}")
        return x

    def down(x, path):
        return conv(x, path, stride=2, padding=margin)

    def pool(x):
        return reference.average_pool(x, 3, 1, 1)

    def join(*maps):
        return np.concatenate(maps, -1)

    x = conv(x, "Conv2d_1a_3x3", 2, margin)
    x = conv(x, "Conv2d_2a_3x3", 1, margin)
    x = conv(x, "Conv2d_2b_3x3")
    x = reference.max_pool(x, 3, 2, margin)
    x = conv(x, "Conv2d_3b_1x1")
    x = conv(x, "Conv2d_4a_3x3", 1, margin)
    x = reference.max_pool(x, 3, 2, margin)
    for b in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = join(
            chain(x, b, "branch1x1"),
            chain(x, b, "branch5x5_1", "branch5x5_2"),
            chain(x, b, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            chain(pool(x), b, "branch_pool"),
        )
    x = join(
        down(x, "Mixed_6a.branch3x3"),
        down(chain(x, "Mixed_6a", "branch3x3dbl_1", "branch3x3dbl_2"), "Mixed_6a.branch3x3dbl_3"),
        reference.max_pool(x, 3, 2, margin),
    )
    for b in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = join(
            chain(x, b, "branch1x1"),
            chain(x, b, "branch7x7_1", "branch7x7_2", "branch7x7_3"),
            chain(x, b, *(f"branch7x7dbl_{i}" for i in range(1, 6))),
            chain(pool(x), b, "branch_pool"),
        )
    b = "Mixed_7a"
    x = join(
        down(chain(x, b, "branch3x3_1"), f"{b}.branch3x3_2"),
        down(chain(x, b, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3"), f"{b}.branch7x7x3_4"),
        reference.max_pool(x, 3, 2, margin),
    )
    for b in ("Mixed_7b", "Mixed_7c"):
        three = chain(x, b, "branch3x3_1")
        double = chain(x, b, "branch3x3dbl_1", "branch3x3dbl_2")
        x = join(
            chain(x, b, "branch1x1"),
            chain(three, b, "branch3x3_2a"),
            chain(three, b, "branch3x3_2b"),
            chain(double, b, "branch3x3dbl_3a"),
            chain(double, b, "branch3x3dbl_3b"),
            chain(pool(x), b, "branch_pool"),
        )
    return x


@pytest.mark.slow
def test_forward():
    model = InceptionV3(width=1 / 16, padded=True)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 64, 64, 4)), jnp.float32)
    variables = reference.random_variables(jax.eval_shape(model.init, jax.random.key(0), x))
    out, maps = reference.compiled(model.apply)(variables, x)
    expected = reference_inception(variables, np.asarray(x[0], np.float64), True)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out[0] / scale, expected / scale, atol=1e-5)
    sides = {name: m.shape[2] for name, m in maps.items()}
    assert sides == {
        "Conv2d_2b_3x3": 32,
        "Conv2d_4a_3x3": 16,
        "Mixed_5d": 8,
        "Mixed_6e": 4,
        "Mixed_7c": 2,
    }


@pytest.mark.slow
def test_full_size():
    """torchvision's 27,161,264 parameters less both classifiers (3,326,696 and 2,049,000)."""
    x = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    init = InceptionV3().init_with_output
    (out, maps), variables = jax.eval_shape(init, jax.random.key(0), x)
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(variables["params"])) == 21_785_568
    assert tuple(m.shape[1] for m in maps.values()) == (147, 71, 35, 17, 8)
    assert tuple(m.shape[3] for m in maps.values()) == (64, 192, 288, 768, 2048)
    assert out.shape == (1, 8, 8, 2048)
