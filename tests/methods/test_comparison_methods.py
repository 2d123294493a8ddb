"""What every comparison method of OSLSM does where there is little to compare."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax import methods

DENSE = {
    "geometry": "dilated4",
    "blocks": ((1, 16), (1, 32)),
    "hidden": 32,
    "fc6_size": 1,
    "preprocessing": "centered",
    "dropout": 0.0,
}
METHODS = {
    "nearest": DENSE,
    "logistic": DENSE | {"strength": 10.0},
    "finetune": DENSE | {"learning_rate": 0.05},
    "siamese": DENSE,
    "cosegment": {"words": 8, "rounds": 2, "exchanges": 1},
}
SLOW = ("cosegment", "logistic")  # to compile
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in METHODS]


def picture(seed, square):
    rng = np.random.default_rng(seed)
    image, mask = rng.uniform(90, 140, (32, 32, 3)), np.zeros((32, 32))
    if square:
        image[8:24, 4:20], mask[8:24, 4:20] = (220, 40, 60), 1
    return image.astype(np.float32), mask.astype(np.float32)


@functools.cache
def run(name):
    """The method on two-shot episodes; one compilation for all tests."""
    model = methods.build(name, **METHODS[name])
    support = jnp.asarray(np.stack([picture(n, True)[0] for n in range(2)])[None])
    call = (support, support[..., 0] * 0, support[:, :1])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *call)
    variables = reference.random_variables(shapes)
    if name == "siamese":
        variables["params"]["kernel"] = -jnp.abs(variables["params"]["kernel"])
    apply = reference.compiled(model.apply)
    return lambda mask, query: np.asarray(apply(variables, support, mask, query))[0, 0] > 0


MASK = jnp.asarray(np.stack([picture(n, True)[1] for n in range(2)])[None])
SHOWN, ABSENT = (jnp.asarray(picture(7, square)[0][None, None]) for square in (True, False))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_present_and_an_absent_class(name):
    truth = picture(7, True)[1] > 0
    found = run(name)(MASK, SHOWN)
    if name != "cosegment":  # a smooth square has nothing that gradients could match
        assert (found & truth).sum() / (found | truth).sum() > 0.6
        assert run(name)(MASK, ABSENT).mean() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_and_a_full_mask(name):
    if name == "cosegment":
        found = [run(name)(mask, SHOWN) for mask in (MASK, 0 * MASK, jnp.ones_like(MASK))]
        assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
        return
    assert not run(name)(0 * MASK, SHOWN).any()
    assert run(name)(jnp.ones_like(MASK), SHOWN).all()


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"cosegment"}))
def test_fields_are_checked(name):
    for fields, message in (
        ({"backbone": "vgg19"}, "unknown backbone 'vgg19': did you mean 'vgg16'"),
        ({"geometry": "sparse"}, "geometry 'sparse': choose one of"),
        ({"backbone": "alexnet", "norm": "batch"}, "takes no blocks, norm or remat"),
    ):
        with pytest.raises(ValueError, match=message):
            model = methods.build(name, **fields)
            jax.eval_shape(model.init, jax.random.key(0), SHOWN, SHOWN[..., 0], SHOWN)


@pytest.mark.slow
def test_fine_tuning_tunes_the_last_module_of_squeezenet():
    """From random weights it learns its support; the task holds what moved and nothing else."""
    model = methods.build(
        "finetune",
        backbone="squeezenet1_0",
        geometry="squeezenet",
        width=0.125,
        hidden=512,
        preprocessing="centered",
        learning_rate=0.05,
    )
    support = jnp.asarray(np.kron(picture(0, True)[0], np.ones((4, 4, 1), np.float32))[None, None])
    mask = jnp.asarray(np.kron(picture(0, True)[1], np.ones((4, 4), np.float32))[None, None])
    shapes = jax.eval_shape(model.init, jax.random.key(0), support, mask, support)
    variables = reference.random_variables(shapes)
    task = reference.compiled(lambda *args: model.apply(variables, *args, method="condition"))
    adapted = task(support, mask)["params"]
    assert set(adapted) == {"fire9", "bn7", "fc8"}
    before = variables["params"]["features"]["fire9"]["expand3x3"]["kernel"]
    assert np.abs(np.asarray(adapted["fire9"]["expand3x3"]["kernel"])[0] - before).max() > 1e-4
    found = np.asarray(reference.compiled(model.apply)(variables, support, mask, support) > 0)
    truth = np.asarray(mask > 0)
    assert (found & truth).sum() / (found | truth).sum() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nearest", "logistic", "finetune", "siamese"])
@pytest.mark.parametrize("backbone", ["vgg16", "alexnet"])
def test_published_geometry_has_the_published_sizes(name, backbone):
    """At full width, shapes only: a 224 pixel support and a 500 pixel query (protocols.md A.7)."""
    model = methods.build(name, backbone=backbone)
    images = [jax.ShapeDtypeStruct((1, n, s, s, 3), jnp.float32) for n, s in ((5, 224), (1, 500))]
    mask = jax.ShapeDtypeStruct((1, 5, 224, 224), jnp.float32)
    logits, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), images[0], mask, images[1]
    )
    assert logits.shape == (1, 1, 500, 500)
    assert variables["params"]["features"]["fc7"]["kernel"].shape == (1, 1, 4096, 4096)
