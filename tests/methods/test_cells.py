"""The geometry of FCN-32s: sizes, upsampling and alignment against the published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import reference_oslsm as reference
from jax import lax

from fss_jax.methods.backbones.alexnet import AlexNet
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.layers import cells

TINY = ((1, 8),) * 5
LINEAR = [name for name, layout in cells.GEOMETRIES.items() if not layout.probabilities]


def segmentation(name, network=VGG, **fields):
    layout = cells.geometry(name)
    fields = {"fc6_size": 7 if network is VGG else 6, **fields}
    return layout, network(
        width=1 / 64, outputs=0, stride=layout.stride, pad=layout.pad, dropout=0.0, **fields
    )


@pytest.mark.parametrize(
    "height,sizes,cells,deconvolved",
    [
        (500, (740, 370, 185, 93, 47), 18, 608),
        (375, (615, 308, 154, 77, 39), 14, 480),
        (224, (464, 232, 116, 58, 29), 9, 320),
    ],
)
def test_sizes_of_the_release(height, sizes, cells, deconvolved):
    """protocols.md A.7."""
    _, network = segmentation("release")
    image = jax.ShapeDtypeStruct((1, height, 300, 3), jnp.float32)
    (out, layers), _ = jax.eval_shape(network.init_with_output, jax.random.key(0), image)
    assert [layers[f"conv{block}_1"].shape[1] for block in range(1, 6)] == list(sizes)
    assert out.shape[1] == cells
    assert 32 * out.shape[1] + 32 == deconvolved >= height + 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["release", "paper"])
@pytest.mark.parametrize("size", [(500, 375), (224, 97), (33, 64), (1, 500)])
def test_upsampling_is_the_deconvolution_and_its_crop(name, size):
    layout, network = segmentation(name)
    assert network.first_center == 31.5 - reference.CROP[name]
    pad = 2 * layout.pad - 2
    count = [-(-(s + pad) // 32) - 6 for s in size]
    score = np.random.default_rng(0).standard_normal(count)
    crop = reference.CROP[name]
    expected = reference.deconvolution(score)[crop : crop + size[0], crop : crop + size[1]]
    assert expected.shape == size
    score = jnp.asarray(score, jnp.float32)
    out = cells.upsample(score[None], layout, network.first_center, size)[0]
    np.testing.assert_allclose(out, expected, atol=1e-5)

    tent = 1 - np.abs(np.arange(64) - 31.5) / 32
    kernel = jnp.asarray(np.outer(tent, tent)[..., None, None], jnp.float32)
    numbers = ("NHWC", "HWIO", "NHWC")
    full = lax.conv_transpose(
        score[None, ..., None], kernel, (32, 32), "VALID", dimension_numbers=numbers
    )
    full = full[0, crop : crop + size[0], crop : crop + size[1], 0]
    np.testing.assert_allclose(out, full, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_a_constant_stays_constant(name):
    layout, network = segmentation(name)
    count = 22 if layout.stride == 32 else -(-500 // layout.stride)
    out = cells.upsample(jnp.ones((count, count)), layout, network.first_center, (500, 500))
    # With FCN's own pad the image begins 13 pixels before full cover: Caffe's scores fade there.
    margin = 13 if name == "paper" else 0
    inner = slice(margin, 500 - margin)
    np.testing.assert_allclose(out[inner, inner], 1.0, atol=1e-6)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("height", [224, 375, 499])
def test_crop_alignment(name, height):
    """Cells that hold their own position upsample to pixels that hold theirs."""
    layout, network = segmentation(name)
    count = 30 if layout.stride == 32 else -(-height // layout.stride)
    position = network.first_center + layout.stride * np.arange(count)
    score = jnp.asarray(np.broadcast_to(position[:, None], (count, count)), jnp.float32)
    out = cells.upsample(score, layout, network.first_center, (height, height))
    edge = layout.stride
    pixel = np.arange(height)[edge:-edge]
    np.testing.assert_allclose(out[edge:-edge, height // 2], pixel, atol=1e-3)


@pytest.mark.parametrize(
    "name,network,blocks",
    [
        ("release", VGG, TINY),
        ("dilated8", VGG, TINY),
        ("dilated4", VGG, TINY[:3]),
        ("release", AlexNet, None),
    ],
)
@pytest.mark.slow
def test_a_cell_sees_pixels_around_its_center(name, network, blocks):
    """With positive weights, the pixels that move a cell are its receptive field."""
    layout, net = segmentation(name, network, fc6_size=3, **({"blocks": blocks} if blocks else {}))
    side = 440 if layout.stride == 32 else 360
    image = jnp.ones((1, side, 4, 1))
    shapes = jax.eval_shape(net.init, jax.random.key(0), image)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1.0 / leaf.size), shapes)

    def total(image, cell):
        return net.apply(variables, image)[0][0, cell].sum()

    cell = (side // 2 - int(net.first_center)) // layout.stride
    moved = reference_layers.compiled(jax.grad(total))(image, cell)[0]
    moved = np.flatnonzero(np.asarray(moved).any((1, 2)))
    assert moved[0] > 0 and moved[-1] < side - 1
    assert (moved[0] + moved[-1]) / 2 == net.first_center + layout.stride * cell


def test_alexnet_under_the_paper_geometry_lies_as_fcn_alexnet():
    """That network's deconvolution has 63 taps, centered on tap 31, and a crop of 18."""
    assert segmentation("paper", AlexNet)[1].first_center == 31 - 18


def test_unknown_geometry_names_the_known_ones():
    with pytest.raises(ValueError, match="'papr': choose one of release, paper, paper_order"):
        cells.geometry("papr")


def test_the_paper_s_order_upsamples_probabilities():
    """Against float64 numpy; a lone sure cell wins more pixels than it does by its logit."""
    score = np.full((3, 3), -8.0)
    score[1, 1] = 1.0
    layout = cells.geometry("paper_order")
    rows = cells.interpolation(64, 3, layout, 16.0)
    probability = rows @ (1 / (1 + np.exp(-score))) @ rows.T
    logits = np.asarray(cells.upsample(jnp.asarray(score, jnp.float32), layout, 16.0, (64, 64)))
    inside = np.abs(probability - 0.5) > 1e-4
    np.testing.assert_array_equal((logits > 0)[inside], (probability > 0.5)[inside])
    by_logit = np.asarray(
        cells.upsample(jnp.asarray(score, jnp.float32), cells.geometry("paper"), 16.0, (64, 64))
    )
    assert (logits > 0).sum() > (by_logit > 0).sum() > 0
