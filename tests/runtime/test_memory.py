"""Memory: what a training step will need, and gradients that keep less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
import toy

from fss_jax import methods
from fss_jax.methods.backbones.resnet import ResNet
from fss_jax.runtime import memory
from fss_jax.training import loop


def value_and_gradient(remat, side=16):
    """A loss of a small OSLSM's parameters, for pictures of `side` pixels."""
    fields = toy.get_config().model.to_dict() | {"dropout": 0.5}
    model = methods.build("oslsm", **fields, remat=remat)
    rng = np.random.default_rng(0)
    support = jnp.asarray(rng.uniform(0, 255, (2, 1, 16, 16, 3)), jnp.float32)
    query = jnp.asarray(rng.uniform(0, 255, (2, 2, side, side, 3)), jnp.float32)
    mask = (support[..., 0] > 100).astype(jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), support, mask, query)
    params = variables.pop("params")

    def loss(params):
        logits, updated = model.apply(
            {"params": params, **variables}, support, mask, query, train=True,
            rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"],
        )  # fmt: skip
        return jnp.square(jax.nn.sigmoid(logits) - 0.3).mean(), updated

    return jax.value_and_grad(loss, has_aux=True), params


@pytest.mark.slow
def test_a_recomputed_gradient_is_the_gradient():
    """Parameters have the same names, batch statistics move once, dropout draws the same."""
    found = []
    for remat in (False, True):
        run, params = value_and_gradient(remat)
        found.append((params, jax.jit(run)(params)))
    assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * (1 + np.abs(a).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "relation"])
def test_normalized_networks_recompute_their_gradient_too(name):
    """BatchNorm's statistics are computed twice, and stored once."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(0, 1, (1, 2, 32, 32, 3)), jnp.float32)
    found = []
    for remat in (False, True):
        if name == "resnet":
            model, inputs = ResNet(50, width=1 / 16, stages=1, remat=remat), (image,)
        else:
            model = methods.build("relation", width=1 / 64, batch_norm="running", remat=remat)
            inputs = (255 * image, (image[..., 0] > 0.5).astype(jnp.float32), 255 * image)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
        variables = reference_layers.random_variables(shapes)
        params = variables.pop("params")

        def loss(params, model=model, inputs=inputs, variables=variables):
            out, updated = model.apply(
                {"params": params, **variables}, *inputs, train=True, mutable=["batch_stats"]
            )
            return sum(jnp.square(x).mean() for x in jax.tree.leaves(out)), updated

        found.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * (1 + np.abs(a).max()))


@pytest.mark.slow
def test_recomputing_needs_less():
    kept, recomputed = (
        memory.peak_bytes(run, params)
        for run, params in (value_and_gradient(remat, side=256) for remat in (False, True))
    )
    assert recomputed < 0.9 * kept  # of two blocks, the larger is computed again at once


def test_the_estimate_is_exact_where_every_value_can_be_followed():
    n = 512
    a = jax.ShapeDtypeStruct((n, n), jnp.float32)
    matrix = 4 * n * n
    # a, a @ a and the result: the first product is read once more.
    assert memory.peak_bytes(lambda a: (a @ a) @ a, a) == 3 * matrix
    # Given up, `a` makes room for the last product.
    assert memory.peak_bytes(lambda a: (b := a @ a) @ b @ b, a) == 4 * matrix
    assert memory.peak_bytes(lambda a: (b := a @ a) @ b @ b, a, donated=True) == 3 * matrix
    # An elementwise chain is part of its reader.
    assert memory.peak_bytes(lambda a: (jnp.exp(a) + 1).sum(), a) == matrix + 4
    # A product cannot take it in.
    assert memory.peak_bytes(lambda a: jnp.exp(a) @ a, a) == 3 * matrix


@pytest.mark.slow
def test_the_estimate_is_about_what_xla_reports():
    """Within a third, here for a small trunk's gradient at a batch that outweighs its parameters."""
    from fss_jax.methods.backbones.vgg import VGG

    model = VGG(width=1 / 8, hidden=0, blocks=((1, 64), (1, 128)))
    x = jnp.zeros((8, 64, 64, 3))
    variables = model.init(jax.random.key(0), x)

    def loss(variables):
        return jnp.square(model.apply(variables, x)[0]).mean()

    run = jax.grad(loss)
    space = jax.jit(run).lower(variables).compile(
        compiler_options={"xla_backend_optimization_level": 2}
    ).memory_analysis()  # fmt: skip
    reported = space.temp_size_in_bytes + space.argument_size_in_bytes + space.output_size_in_bytes
    assert memory.peak_bytes(run, variables) == pytest.approx(reported, rel=0.35)


def test_what_does_not_fit_is_told_with_what_would(monkeypatch):
    def needed(batch):
        return (7 + 3 * batch) * 2**30

    device = jax.devices()[0]
    monkeypatch.setattr(memory, "device_bytes", lambda device: 16 * 2**30)
    memory.demand_room(needed, 3, device)
    message = (
        "^a training step of 8 episodes on each device needs about 31 GiB, .* has 16: lower "
        "config.batch to 3 for each device .*or set config.remat=True .--dry_run [^\n]*$"
    )
    with pytest.raises(ValueError, match=message):
        memory.demand_room(needed, 8, device)
    with pytest.raises(ValueError, match="set config.bank=loader or config.remat=True"):
        memory.demand_room(needed, 8, device, resident=True)
    with pytest.raises(ValueError, match="needs about 10 GiB, .* has 4: make the images smaller"):
        memory.demand_room(needed, 1, device, sharing=4)


@pytest.mark.slow
def test_a_run_that_does_not_fit_ends_before_anything_is_written(toy_config, tmp_path, monkeypatch):
    """The real step's estimate, on a device of 256 KB."""
    monkeypatch.setattr(memory, "device_bytes", lambda device: 2**18)
    toy_config.bank = "device"
    with pytest.raises(
        ValueError, match="^a training step of 4 episodes [^\n]*config.bank=loader[^\n]*$"
    ):
        loop.train(toy_config, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()
