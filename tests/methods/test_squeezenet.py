"""SqueezeNet: where its cells lie, and OSLSM on its real pretrained features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax import methods, weights
from fss_jax.methods.backbones.squeezenet import SqueezeNet
from fss_jax.methods.oslsm import OSLSM


@pytest.mark.slow
def test_cells_are_centered_where_they_say():
    """With equal weights every pixel that a cell sees has a gradient: the middle of those."""
    model = SqueezeNet(width=1 / 64, pad=9, outputs=0)
    image = np.ones((1, 400, 400, 3), np.float32)  # the cell sees no border
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, np.float32), shapes)
    row, column = 12, 11
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x)[0][0, row, column].sum()))
    seen = np.nonzero(np.abs(gradient(image)[0]).sum(-1))
    for pixels, cell in zip(seen, (row, column), strict=True):
        assert (pixels.min() + pixels.max()) / 2 == model.first_center + 16 * cell


@pytest.mark.parametrize("size", [96, 100, 111, 224])
def test_segmentation_padding_gives_a_cell_for_every_16_pixels(size):
    model = SqueezeNet(pad=9, outputs=0)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    (out, maps), _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert out.shape == (1, -(-size // 16), -(-size // 16), 512)
    assert [maps[name].shape[-1] for name in ("conv1", "fire4", "fire8")] == [96, 256, 512]


def oslsm(**fields):
    return OSLSM(backbone="squeezenet1_0", geometry="squeezenet", **fields)


@pytest.mark.slow
def test_pretrained_weights_go_into_both_branches_of_oslsm(shared):
    model = oslsm(hidden=512, preprocessing="torchvision")
    image = np.random.default_rng(0).uniform(0, 255, (1, 2, 64, 80, 3)).astype(np.float32)
    mask = np.zeros(image.shape[:-1], np.float32)
    mask[..., 10:40, 20:60] = 1
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, mask, image)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    spec = f"torchvision:squeezenet1_0:{shared}/weights/squeezenet1_0.safetensors"
    variables, preprocessing = weights.load(spec, variables)
    assert preprocessing == model.preprocessing
    first, second = variables["params"]["conditioning"], variables["params"]["segmentation"]
    assert "conv10" in first and "conv10" not in second
    np.testing.assert_array_equal(
        first["fire9"]["squeeze"]["bias"], second["fire9"]["squeeze"]["bias"]
    )
    logits = jax.jit(model.apply)(variables, image, mask, image[:, :1])
    assert logits.shape == (1, 1, 64, 80) and np.isfinite(logits).all() and np.std(logits) > 0


def test_wrong_fields_are_named():
    image = jax.ShapeDtypeStruct((1, 1, 64, 64, 3), np.float32)
    mask = jax.ShapeDtypeStruct((1, 1, 64, 64), np.float32)

    def init(model):
        jax.eval_shape(model.init, jax.random.key(0), image, mask, image)

    with pytest.raises(ValueError, match="512 features"):
        init(oslsm())
    with pytest.raises(ValueError, match="geometry"):
        init(OSLSM(backbone="squeezenet1_0", hidden=512))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [("panet", {}), ("guided", {"geometry": "squeezenet"}), ("canet", {"iterations": 1})],
)
def test_other_methods_stand_on_it(name, fields):
    """Any size: 70 pixels are five cells; a support of another size than the query's."""
    model = methods.build(name, backbone="squeezenet1_0", width=0.125, **fields)
    support, query = jnp.ones((1, 2, 64, 64, 3)), 100 * jnp.ones((1, 1, 70, 90, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), support, support[..., 0], query)
    assert "fire8" in shapes["params"]["encoder"] and ("fire9" in shapes["params"]["encoder"]) == (
        name != "canet"
    )
    logits = jax.eval_shape(model.apply, shapes, support, support[..., 0], query)
    assert logits.shape == (1, 1, 70, 90)


@pytest.mark.parametrize("name", ["panet", "guided", "canet"])
def test_a_backbone_that_a_method_has_not_is_said_so(name):
    images = jnp.ones((1, 1, 64, 64, 3))
    with pytest.raises(ValueError, match="backbone 'alexnet' has no form"):
        methods.build(name, backbone="alexnet").init(
            jax.random.key(0), images, images[..., 0], images
        )


def test_guided_networks_need_the_geometry_of_their_backbone():
    images = jnp.ones((1, 1, 64, 64, 3))
    with pytest.raises(ValueError, match="it goes with geometry covering"):
        methods.build("guided", backbone="squeezenet1_0").init(
            jax.random.key(0), images, images[..., 0], images
        )
