"""VGG-16 and AlexNet: published sizes, a float64 reference, one set of weights for both forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import reference_oslsm as reference

from fss_jax.methods.backbones.alexnet import AlexNet
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.layers import Window

SMALL = {"width": 1 / 32, "outputs": 10, "dropout": 0.0}


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def variables_of(net, x, seed=0):
    return reference_layers.random_variables(jax.eval_shape(net.init, jax.random.key(0), x), seed)


def parameters(net, size=224):
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
    return shapes, sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    "net,number",
    [
        (VGG(), 138_357_544),
        (VGG(norm="batch"), 138_365_992),
        (VGG(outputs=0), 134_260_544),
        (VGG(outputs=0, pad=121, fc6_size=7), 134_260_544),
        (VGG(hidden=0), 14_714_688),
        (VGG(hidden=0, norm="batch"), 14_723_136),
        (AlexNet(), 61_100_840),
        (AlexNet(outputs=0, pad=100, fc6_size=6), 57_003_840),
        (AlexNet(caffe=True), 60_965_224),
    ],
)
@pytest.mark.slow
def test_published_parameter_counts(net, number):
    assert parameters(net)[1] == number


@pytest.mark.slow
def test_poolings_and_the_last_relu_are_choices():
    """100 pixels have 7 cells at stride 16; Caffe keeps half a window, torchvision drops it."""
    x, found = images(1, 100, 100, 3), {}
    made = variables_of(VGG(width=1 / 64, hidden=0), x)
    for ceil in (True, False):
        net = VGG(width=1 / 64, hidden=0, ceil=ceil, last_relu=ceil)
        out, found[ceil] = reference_layers.compiled(net.apply)(made, x)
        assert out.shape[1:3] == ((4, 4) if ceil else (3, 3))
        np.testing.assert_array_equal(out, found[ceil]["pool5"])
        np.testing.assert_array_equal(
            found[ceil]["conv4_3"], np.maximum(found[ceil]["linear4_3"], 0)
        )
    assert (found[True]["conv5_3"] >= 0).all()
    np.testing.assert_array_equal(found[False]["conv5_3"], found[False]["linear5_3"])
    assert (found[False]["conv5_3"] < 0).any()


def test_layers_are_named_as_in_caffe():
    shapes, _ = parameters(VGG(norm="batch"))
    convs = "1_1 1_2 2_1 2_2 3_1 3_2 3_3 4_1 4_2 4_3 5_1 5_2 5_3".split()
    names = [f"conv{n}" for n in convs] + [f"bn{n}" for n in convs] + ["fc6", "fc7", "fc8"]
    assert sorted(shapes) == sorted(names)
    assert shapes["fc6"]["kernel"].shape == (7, 7, 512, 4096)
    assert parameters(VGG(fc6_size=7), 320)[0]["fc6"]["kernel"].shape == (7, 7, 512, 4096)


@pytest.mark.parametrize(
    "size,fields",
    [
        ((64, 64), {}),
        ((61, 97), {"norm": "batch"}),  # pooling rounds up four times
        ((33, 45), {"pad": 100, "fc6_size": 7}),
        ((37, 41), {"stride": 8, "fc6_size": 3, "norm": "batch"}),
        ((37, 41), {"stride": 4, "fc6_size": 7, "blocks": ((1, 256), (2, 512), (1, 512))}),
    ],
)
@pytest.mark.slow
def test_vgg_equals_the_reference(size, fields):
    net = VGG(**SMALL, **fields)
    x = images(2, *size, 3)
    variables = variables_of(net, x)
    out, layers = reference_layers.compiled(net.apply)(variables, x)
    tree = reference_layers.float64(variables)
    pad, stride = fields.get("pad", 1), fields.get("stride", 32)
    stats = tree.get("batch_stats")
    expected = reference.vgg(np.float64(x), tree["params"], stats, pad=pad, stride=stride)
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    assert layers["conv1_1"].shape[1] == size[0] + 2 * pad - 2
    if "stride" in fields:
        assert out.shape[1:3] == tuple(-(-s // stride) for s in size)


def two_towers(y, params, *others):
    """A convolution of two groups: the halves of the channels never meet."""
    halves = []
    for x, kernel, bias in zip(
        np.split(y, 2, -1), *(np.split(params[n], 2, -1) for n in ("kernel", "bias")), strict=True
    ):
        halves.append(reference_layers.conv(x, {"kernel": kernel, "bias": bias}, *others))
    return np.concatenate(halves, -1)


def local_response(y, size=5, alpha=1e-4, beta=0.75):
    """Caffe's LRN, a channel at a time."""
    around = [y[..., max(0, c - size // 2) : c + size // 2 + 1] for c in range(y.shape[-1])]
    sums = np.stack([np.square(part).sum(-1) for part in around], -1)
    return y / (1 + alpha / size * sums) ** beta


@pytest.mark.slow
@pytest.mark.parametrize("caffe", [False, True])
def test_alexnet_equals_the_reference(caffe):
    """conv with its own padding, ReLU, pooling 3x3 by 2 that rounds up."""
    net = AlexNet(**SMALL, caffe=caffe)
    x = 30 * images(2, 129, 160, 3)  # large enough that responses are normalized
    variables = variables_of(net, x)
    out, _ = reference_layers.compiled(net.apply)(variables, x)
    params = reference_layers.float64(variables["params"])

    y = np.float64(x)
    for name, stride, padding in zip(
        ("conv1", "conv2", "conv3", "conv4", "conv5"),
        (4, 1, 1, 1, 1),
        (0 if caffe else 2, 2, 1, 1, 1),
        strict=True,
    ):
        conv = (
            two_towers if caffe and name in ("conv2", "conv4", "conv5") else reference_layers.conv
        )
        y = reference_layers.relu(conv(y, params[name], stride, 1, padding))
        if caffe and name in ("conv1", "conv2"):
            y = local_response(y)
        if name in ("conv1", "conv2", "conv5"):
            over = [(s - 3) % 2 for s in y.shape[1:3]]  # the part of a window that hangs over
            y = np.pad(y, ((0, 0), (0, over[0]), (0, over[1]), (0, 0)), constant_values=-np.inf)
            y = reference_layers.max_pool(y, 3, 2)
    y = reference_layers.relu(
        np.einsum("nhwc,hwcd->nd", y, params["fc6"]["kernel"]) + params["fc6"]["bias"]
    )
    y = reference_layers.relu(y @ params["fc7"]["kernel"][0, 0] + params["fc7"]["bias"])
    y = y @ params["fc8"]["kernel"][0, 0] + params["fc8"]["bias"]
    np.testing.assert_allclose(out[:, 0, 0], y, atol=1e-4 * np.abs(y).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    "network,window", [(functools.partial(VGG, blocks=((1, 64),) * 5), 7), (AlexNet, 6)]
)
def test_the_classifier_and_the_fcn_share_their_weights(network, window):
    x = images(1, 224, 224, 3)
    classifier, fcn = network(**SMALL), network(**SMALL, fc6_size=window)
    variables = variables_of(classifier, x)
    one = reference_layers.compiled(classifier.apply)(variables, x)[0]
    assert one.shape == (1, 1, 1, 10)
    np.testing.assert_allclose(
        reference_layers.compiled(fcn.apply)(variables, x)[0], one, rtol=1e-5
    )
    assert jax.eval_shape(fcn.apply, variables, images(1, 320, 256, 3))[0].shape == (1, 4, 2, 10)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_fc6_of_a_whole_map_is_a_convolution_that_keeps_its_size(size):
    x = images(2, 7, 5, 4)
    window = Window(3, size, dilation=2, same=True)
    variables = variables_of(window, x)

    def convolution(variables, x):
        kernel, bias = (variables["params"][name] for name in ("kernel", "bias"))
        layout = ("NHWC", "HWIO", "NHWC")
        return bias.reshape(1, 1, 1, -1) + jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", rhs_dilation=(2, 2), dimension_numbers=layout
        )

    def with_gradients(run):
        y, back = jax.vjp(run, variables, x)
        return y, back(jnp.sin(y))

    for found, expected in zip(
        jax.tree.leaves(jax.jit(with_gradients, static_argnums=0)(window.apply)),
        jax.tree.leaves(with_gradients(convolution)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_leading_axes_are_a_batch():
    net = VGG(**SMALL, blocks=((1, 256), (1, 512)))
    x = images(2, 3, 16, 16, 3)
    variables = variables_of(net, x)
    apply = reference_layers.compiled(net.apply)
    out = apply(variables, x)[0]
    assert out.shape == (2, 3, 1, 1, 10)
    flat = apply(variables, x.reshape(6, 16, 16, 3))[0]
    np.testing.assert_allclose(out.reshape(flat.shape), flat, atol=1e-5)


@pytest.mark.slow
def test_dropout_only_in_training():
    net = VGG(width=1 / 32, outputs=10, blocks=((1, 256),))
    x = images(1, 8, 8, 3)
    variables = variables_of(net, x)
    rngs = {"dropout": jax.random.key(1)}
    apply = jax.jit(net.apply, static_argnames="train")
    out = apply(variables, x)[0]
    assert (apply(variables, x, rngs=rngs)[0] == out).all()
    assert (apply(variables, x, train=True, rngs=rngs)[0] != out).any()


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_with_float32_parameters():
    x = images(1, 32, 32, 3)
    make = functools.partial(VGG, **SMALL, norm="batch", blocks=((1, 256), (1, 512)))
    low, high = make(dtype=jnp.bfloat16), make()
    shapes = jax.eval_shape(low.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    variables = reference_layers.random_variables(shapes)
    out = reference_layers.compiled(low.apply)(variables, x)[0]
    assert out.dtype == jnp.bfloat16
    expected = reference_layers.compiled(high.apply)(variables, x)[0]
    error = np.abs(out.astype(jnp.float32) - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    "net,size,message",
    [
        (VGG(**SMALL, norm="bach"), 32, "norm 'bach': choose one of none, batch"),
        (VGG(**SMALL, stride=64), 32, "5 blocks cannot have a stride of 64 pixels: .* up to 32"),
        (VGG(**SMALL, stride=6), 32, "stride of 6 pixels"),
        (
            VGG(**SMALL, fc6_size=7),
            96,
            "fc6 needs a map of at least 7x7 cells, the image gives 3x3",
        ),
        (AlexNet(**SMALL, stride=8), 224, "AlexNet has a stride of 32 pixels, not 8"),
        (AlexNet(**SMALL, fc6_size=6), 100, "at least 6x6 cells, the image gives 3x3"),
    ],
)
def test_what_cannot_be_built_says_why(net, size, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


def test_images_of_another_size_than_the_classifier_was_made_for():
    net = VGG(**SMALL)
    variables = variables_of(net, images(1, 64, 64, 3))
    with pytest.raises(ValueError, match="made for a map of 2x2 cells, the image gives 3x3"):
        jax.eval_shape(net.apply, variables, images(1, 96, 96, 3))
