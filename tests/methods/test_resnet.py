"""ResNet against a float64 forward, torchvision's sizes, and dilation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.methods.backbones.resnet import STAGES, ResNet


def reference_resnet(variables, x, strides, dilations):
    """{stage: map} by running statistics; x is [n, h, w, c]."""
    variables = reference.float64(variables)
    params, stats = variables["params"], variables["batch_stats"]

    def block(x, p, s, stride, dilation):
        y = reference.relu(reference.norm(reference.conv(x, p["conv1"]), p["bn1"], s["bn1"]))
        y = reference.conv(y, p["conv2"], stride, dilation)
        y = reference.relu(reference.norm(y, p["bn2"], s["bn2"]))
        y = reference.norm(reference.conv(y, p["conv3"]), p["bn3"], s["bn3"])
        if "downsample_conv" in p:
            x = reference.conv(x, p["downsample_conv"], stride)
            x = reference.norm(x, p["downsample_bn"], s["downsample_bn"])
        return reference.relu(x + y)

    x = reference.conv(x, params["conv1"], stride=2)
    x = reference.relu(reference.norm(x, params["bn1"], stats["bn1"]))
    maps = {"stem": x}
    x = reference.max_pool(x, 3, 2, padding=1)
    for stage, blocks in enumerate(STAGES[50]):
        for index in range(blocks):
            name = f"layer{stage + 1}_{index}"
            stride = strides[stage] if index == 0 else 1
            x = block(x, params[name], stats[name], stride, dilations[stage])
        maps[f"layer{stage + 1}"] = x
    return maps


@pytest.mark.slow
@pytest.mark.parametrize(
    "strides,dilations", [((1, 2, 2, 2), (1, 1, 1, 1)), ((1, 2, 1, 1), (1, 1, 2, 4))]
)
def test_forward(strides, dilations):
    model = ResNet(50, width=1 / 16, strides=strides, dilations=dilations)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 33, 40, 4)), jnp.float32)
    variables = reference.random_variables(jax.eval_shape(model.init, jax.random.key(0), x))
    out, maps = reference.compiled(model.apply)(variables, x)
    expected = reference_resnet(variables, np.asarray(x[0], np.float64), strides, dilations)
    linear = {name: of for name, of in maps.items() if name.startswith("linear")}
    assert maps.keys() - linear.keys() == expected.keys() and len(linear) == 3 + 4 + 6 + 3
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        last = np.maximum(linear[f"linear{stage}_{blocks - 1}"], 0)
        np.testing.assert_array_equal(last, maps[f"layer{stage}"])
    for name in expected:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(maps[name][0] / scale, expected[name] / scale, atol=1e-5)
    np.testing.assert_array_equal(out, maps["layer4"])


@pytest.mark.slow
@pytest.mark.parametrize("depth,parameters", [(50, 23_508_032), (101, 42_500_160)])
def test_full_size(depth, parameters):
    """torchvision's counts (25,557,032 and 44,549,160) less the 2,049,000 of the classifier."""
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    (out, maps), variables = jax.eval_shape(ResNet(depth).init_with_output, jax.random.key(0), x)
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(variables["params"])) == parameters
    assert out.shape == (1, 7, 7, 2048)
    sizes = {name: m.shape[1:] for name, m in maps.items()}
    assert sizes["stem"] == (112, 112, 64)
    assert sizes["layer1"] == (56, 56, 256)
    assert sizes["layer2"] == (28, 28, 512)
    assert sizes["layer3"] == (14, 14, 1024)


def test_canet_keeps_stride_8_and_stops_early():
    x = jax.ShapeDtypeStruct((1, 321, 321, 3), jnp.float32)
    model = ResNet(50, stages=3, strides=(1, 2, 1), dilations=(1, 1, 2))
    _, maps = jax.eval_shape(model.init_with_output, jax.random.key(0), x)[0]
    assert maps["layer3"].shape == (1, 41, 41, 1024)
    assert "layer4" not in maps


def test_unknown_depth():
    with pytest.raises(ValueError, match="depth 34: choose one of \\[50, 101\\]"):
        ResNet(34).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
