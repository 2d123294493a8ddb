"""Warps against SciPy's, labels against exact fractions, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_pixels

from fss_jax.data import imaging

CANVAS = 48
SIZES = [(48, 48), (36, 48), (48, 31), (7, 40), (1, 1)]
FILL = (120.0, 110.0, 100.0)


def canvas_of(size, seed=0):
    """An image in the top-left corner; what lies around it must not show."""
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 256, (CANVAS, CANVAS, 3)).astype(np.uint8)
    return canvas, canvas[: size[0], : size[1]]


# One compiled function for images of every size.
warp = jax.jit(imaging.warp, static_argnums=(2, 3))
warp_label = jax.jit(imaging.warp_label, static_argnums=2)
unwarp = jax.jit(imaging.unwarp, static_argnums=2)


@pytest.mark.parametrize("out", [16, 101])
@pytest.mark.parametrize("size", SIZES)
def test_warp_is_order_1_resize_with_a_constant_border(size, out):
    canvas, image = canvas_of(size)
    expected = reference_pixels.resize(image, out, FILL)
    np.testing.assert_allclose(
        warp(canvas, np.asarray(size), out, FILL), expected, rtol=0, atol=2e-3
    )


def test_warp_to_its_own_size_changes_nothing():
    canvas, image = canvas_of((CANVAS, CANVAS))
    np.testing.assert_array_equal(warp(canvas, np.asarray(image.shape[:2]), CANVAS, FILL), image)


@pytest.mark.parametrize("size, out", [*((s, 101) for s in SIZES), ((14, 42), 49), ((42, 28), 12)])
def test_labels_take_the_pixel_that_holds_the_center(size, out):
    label = np.random.default_rng(1).integers(0, 256, (CANVAS, CANVAS)).astype(np.uint8)

    expected = reference_pixels.resize_label(label[: size[0], : size[1]], out)
    np.testing.assert_array_equal(warp_label(label, np.asarray(size), out), expected)


def test_ties_of_labels_do_not_depend_on_rounding():
    """Of 896 pixels shrunk to 96, float32 misses four centers that lie on a border."""
    label = np.broadcast_to(np.arange(896) % 251, (2, 896)).astype(np.uint8)
    exact = np.asarray(reference_pixels.nearest(896, 96)) % 251
    np.testing.assert_array_equal(warp_label(label, np.asarray([2, 896]), 96)[5], exact)


@pytest.mark.parametrize("size", SIZES)
def test_inside_is_the_image_s_rectangle(size):
    expected = np.zeros((CANVAS, CANVAS), bool)
    expected[: size[0], : size[1]] = True
    np.testing.assert_array_equal(imaging.inside(jnp.asarray(size), CANVAS), expected)


@pytest.mark.parametrize("size", SIZES)
def test_unwarp_repeats_the_edge_and_agrees_with_scipy(size):
    values = np.random.default_rng(2).normal(size=(16, 24)).astype(np.float32)
    back = np.asarray(unwarp(values, np.asarray(size), CANVAS))[: size[0], : size[1]]
    expected = reference_pixels.stretch(values, size)
    np.testing.assert_allclose(back, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_unwarp_keeps_constants(size):
    back = np.asarray(unwarp(np.full((16, 16), 3.25, np.float32), np.asarray(size), CANVAS))
    np.testing.assert_allclose(back[: size[0], : size[1]], 3.25, rtol=1e-6)


def test_unwarp_inverts_warp_on_ramps():
    """Exact but for one result's pixel at the border, where the warp fades into the fill."""
    size, out = (36, 48), 101
    ramp = np.zeros((CANVAS, CANVAS, 3), np.uint8)
    ramp[:36] = (np.arange(48) * 2 + np.arange(36)[:, None] * 3)[..., None]
    warped = warp(ramp, np.asarray(size), out, (0.0, 0.0, 0.0))[..., 0]
    back = np.asarray(unwarp(warped, np.asarray(size), CANVAS))
    np.testing.assert_allclose(back[1:35, 1:47], ramp[1:35, 1:47, 0], atol=1e-2)


PIXEL = (10.0, 100.0, 200.0)  # red, green, blue
BY_HAND = {
    # blue first: 200 - 104.00698793, 100 - 116.66876762, 10 - 122.67891434
    "caffe": (95.99301207, -16.66876762, -112.67891434),
    "vgg": (96.061, -16.779, -113.68),
    # (10/255 - 0.485)/0.229, (100/255 - 0.456)/0.224, (200/255 - 0.406)/0.225
    "torchvision": (-1.946656, -0.285014, 1.681394),
    "tf": (10 / 127.5 - 1, 100 / 127.5 - 1, 200 / 127.5 - 1),
    "unit": (10 / 255, 100 / 255, 200 / 255),
    "centered": (-117.5 / 63.75, -27.5 / 63.75, 72.5 / 63.75),
}


@pytest.mark.parametrize("name", imaging.PREPROCESSING)
def test_normalize_by_hand(name):
    image = jnp.broadcast_to(jnp.asarray(PIXEL), (2, 4, 5, 3))
    expected = np.broadcast_to(BY_HAND[name], (2, 4, 5, 3))
    np.testing.assert_allclose(imaging.normalize(image, name), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", imaging.PREPROCESSING)
def test_the_mean_color_is_zero_to_every_network(name):
    mean = jnp.asarray(imaging.PREPROCESSING[name].mean)
    image = jnp.broadcast_to(mean, (1, 1, 3))
    np.testing.assert_allclose(imaging.normalize(image, name), 0.0, atol=1e-5)


def test_an_unknown_preprocessing_is_named():
    with pytest.raises(ValueError, match="'cafe'.*did you mean 'caffe'"):
        imaging.normalize(jnp.zeros((2, 2, 3)), "cafe")
