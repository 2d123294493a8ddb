"""HSNet's size, votes and frozen backbone. tests/parity has the PyTorch forward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers

from fss_jax.data.encoded import Encoded
from fss_jax.methods import hsnet
from fss_jax.methods.hsnet import HSNet

MODEL = HSNet(width=1 / 32, preprocessing="centered")


def episode(k=1, q=2, side=64, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((1, k, side, side), np.float32)
    mask[:, :, 10:40, 8:50] = 1.0
    support = rng.uniform(0, 255, (1, k, side, side, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, q, side, side, 3)).astype(np.float32)
    return tuple(map(jnp.asarray, (support, mask, query)))


def shapes_of(model, side):
    image = jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 1, side, side), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), image, mask, image)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "learner", "trunk"),
    [
        ("vgg16", HSNet.published_parameters["learner"], 14_714_688),
        pytest.param("resnet50", 2_573_794, 23_508_032, marks=pytest.mark.slow),
        pytest.param("resnet101", 2_587_394, 42_500_160, marks=pytest.mark.slow),
    ],
)
def test_published_parameters(backbone, learner, trunk):
    """As the release's learners count; 400 pixels."""
    logits, made = shapes_of(HSNet(backbone=backbone), 400)
    counts = {
        name: sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(part))
        for name, part in made["params"].items()
    }
    assert logits.shape == (1, 1, 400, 400)
    assert counts == {"learner": learner, "encoder": trunk}


def test_maps_are_compared_at_the_published_sizes():
    """Of 400 pixels: 50, 25 and 12 cells a side, in three, three and one map."""
    model = HSNet()
    image = jax.ShapeDtypeStruct((1, 1, 400, 400, 3), jnp.float32)
    found = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, method="encoded")[0], image
    )
    sizes = {name: x.shape[2:] for name, x in found.maps.items()}
    fine, middle = (f"linear{block}_" for block in (4, 5))
    assert all(sizes[f"{fine}{n}"] == (50, 50, 512) for n in (1, 2, 3))
    assert all(sizes[f"{middle}{n}"] == (25, 25, 512) for n in (1, 2, 3))
    assert sizes["pool5"] == (12, 12, 512) and len(sizes) == 7


@pytest.mark.slow
def test_half_of_the_most_votes_is_enough():
    votes = np.array([[0, 1, 2, 3, 4]])  # of five shots, so four are the most
    logits = np.where(np.arange(5)[:, None, None] < votes, 1.0, -1.0)
    found = hsnet.vote(jnp.asarray(logits[None, None], jnp.float32))[0, 0]
    np.testing.assert_array_equal(found > 0, votes >= 2)
    nothing = hsnet.vote(jnp.full((1, 1, 5, 3, 3), -1.0))
    assert (nothing < 0).all()


def test_correlations_are_cosines_without_the_negative():
    rng = np.random.default_rng(0)
    query, support = rng.standard_normal((1, 1, 3, 4, 6)), rng.standard_normal((1, 2, 2, 5, 6))
    found = hsnet.correlation(*(jnp.asarray(x, jnp.float32) for x in (query, support)))
    norms = [np.linalg.norm(x, axis=-1) for x in (query, support)]
    a, b = query[0, 0, 2, 1] / norms[0][0, 0, 2, 1], support[0, 1, 1, 3] / norms[1][0, 1, 1, 3]
    np.testing.assert_allclose(found[0, 0, 1, 2, 1, 1, 3], max(a @ b, 0), atol=1e-4)
    assert (found >= 0).all()


@pytest.mark.slow
def test_features_stand_for_images_and_the_backbone_gets_no_gradient():
    support, mask, query = episode()
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), support, mask, query)
    made = reference_layers.random_variables(shapes)

    def both(params):
        variables = {"params": params}
        seen = [MODEL.apply(variables, x, method="encoded") for x in (support, query)]
        from_features = MODEL.apply(variables, seen[0], mask, seen[1])
        return jnp.square(MODEL.apply(variables, support, mask, query)).mean(), from_features

    graded = reference_layers.compiled(jax.value_and_grad(both, has_aux=True))
    (_, from_features), gradient = graded(made["params"])
    straight = reference_layers.compiled(MODEL.apply)(made, support, mask, query)
    np.testing.assert_allclose(from_features, straight, atol=1e-5)
    norms = {
        name: max(jax.tree.leaves(jax.tree.map(lambda x: float(jnp.abs(x).max()), part)))
        for name, part in gradient.items()
    }
    assert norms["encoder"] == 0.0 and norms["learner"] > 0.0


def test_levels_that_do_not_meet_are_told():
    with pytest.raises(ValueError, match="choose another size of image, such as 400"):
        shapes_of(HSNet(width=1 / 32), 272)


def test_features_know_the_images_size():
    support, _, _ = episode()
    shapes = jax.eval_shape(
        lambda x: MODEL.init_with_output(jax.random.key(0), x, method="encoded")[0], support
    )
    assert isinstance(shapes, Encoded) and shapes.size == (64, 64)
