"""The fast depthwise convolution against XLA's, and EfficientNet-Lite's geometry."""

import jax
import numpy as np
import pytest

from fss_jax.methods import backbones
from fss_jax.methods.backbones import efficientnet_lite
from fss_jax.methods.backbones.efficientnet_lite import EfficientNetLite
from fss_jax.methods.layers import depthwise_same as depthwise


@pytest.mark.slow
@pytest.mark.parametrize("size", [(7, 9), (8, 6), (1, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_slices_are_the_grouped_convolution(size, kernel, stride):
    x = jax.random.normal(jax.random.key(0), (2, *size, 4))
    k = jax.random.normal(jax.random.key(1), (kernel, kernel, 1, 4))
    expected = jax.lax.conv_general_dilated(
        *(x, k, (stride, stride), "SAME"),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    np.testing.assert_allclose(depthwise.depthwise(x, k, stride), expected, atol=1e-5)


@pytest.mark.slow
def test_the_gradients_agree_too():
    x = jax.random.normal(jax.random.key(0), (1, 6, 7, 3))
    k = jax.random.normal(jax.random.key(1), (3, 3, 1, 3))
    pads = tuple(depthwise.same_padding(n, 3, 2) for n in (6, 7))

    def slope(form):
        return jax.grad(lambda x, k: (form(x, k, stride=2, pads=pads) ** 2).sum(), (0, 1))(x, k)

    for ours, theirs in zip(slope(depthwise._shifted), slope(depthwise.grouped), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_official_widths_and_depths():
    """Lite2: 1.1 wide, 1.2 deep (efficientnet_lite_builder.py); checked by the wheel's shapes."""
    lite2 = efficientnet_lite.stages(2)
    assert [stage.features for stage in lite2] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.repeats for stage in lite2] == [1, 3, 3, 4, 4, 5, 1]
    assert [stage.repeats for stage in efficientnet_lite.stages(1)] == [1, 3, 3, 4, 4, 5, 1]
    with pytest.raises(ValueError, match="choose one of 0, 1, 2"):
        efficientnet_lite.stages(3)


@pytest.mark.slow
def test_every_stride_has_its_level_and_leading_axes_do_not_matter():
    model = EfficientNetLite(0)
    image = jax.random.normal(jax.random.key(0), (2, 3, 37, 70, 3))
    shapes = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0][1], image)
    for name, stride in efficientnet_lite.STRIDES.items():
        assert shapes[name].shape[:-1] == (2, 3, -(-37 // stride), -(-70 // stride))


def test_where_the_cells_of_its_covering_form_lie():
    """The middle of what a cell sees, when all kernels are even and positive."""
    net = backbones.get("efficientnet_lite0", "covering").covering(width=1.0, dtype=np.float32)
    image = np.full((1, 224, 224, 3), 0.05, np.float32)  # so that no ReLU6 is full

    def even(path, leaf):
        if path[-1].key == "kernel":
            return np.full(leaf.shape, 1 / np.prod(leaf.shape[:-1]), np.float32)
        return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)

    variables = jax.tree.map_with_path(even, jax.eval_shape(net.init, jax.random.key(0), image))
    slope = jax.jit(jax.grad(lambda image: net.apply(variables, image)[0][0, 7, 6].sum()))
    seen = slope(image)[0].sum(-1)
    stride = backbones.get("efficientnet_lite0").stride
    for axis, cell in ((1, 7), (0, 6)):
        weight = np.asarray(seen.sum(axis), np.float64)
        middle = (weight * np.arange(224)).sum() / weight.sum()
        assert abs(middle - (net.first_center + stride * cell)) < 0.5
