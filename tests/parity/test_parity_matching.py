"""HSNet and SSP against PyTorch forwards of one episode in float64, written apart from ours."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import parity_tools as tools  # noqa: E402
import reference_layers  # noqa: E402
import reference_matching as reference  # noqa: E402

from fss_jax.methods.hsnet import HSNet  # noqa: E402
from fss_jax.methods.ssp import SSP  # noqa: E402

pytestmark = pytest.mark.parity

MEAN = torch.tensor([0.485, 0.456, 0.406]).double().view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).double().view(3, 1, 1)


def episode(shots, queries, side, seed=0):
    rng = np.random.default_rng(seed)
    support = rng.uniform(0, 255, (1, shots, side, side, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, queries, side, side, 3)).astype(np.float32)
    mask = np.zeros(support.shape[:-1], np.float32)
    for shot in range(shots):
        mask[0, shot, 8 + 5 * shot : 40 + 5 * shot, 5:50] = 1.0
    return tuple(map(jnp.asarray, (support, mask, query)))


def variables_of(model, inputs):
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return reference_layers.random_variables(shapes)


def tensors(inputs):
    """Support [k, 3, h, w] and query [q, 3, h, w], normalized, and mask [k, h, w]."""
    support, mask, query = (torch.tensor(np.asarray(x[0], np.float64)) for x in inputs)
    support, query = ((x.permute(0, 3, 1, 2) / 255 - MEAN) / STD for x in (support, query))
    return support, mask, query


def weights(tree):
    if isinstance(tree, dict):
        return {key: weights(value) for key, value in tree.items()}
    tensor = torch.tensor(np.asarray(tree, np.float64))
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor


@pytest.mark.parametrize("side", [112, 100])  # 100: an odd map, whose last window a pooling drops
def test_hsnet(side):
    model, inputs = HSNet(width=1 / 16), episode(1, 1, side)
    made = variables_of(model, inputs)
    ours = reference_layers.compiled(model.apply)(made, *inputs)
    support, mask, query = tensors(inputs)
    theirs = reference.hsnet_one(weights(made["params"]), _groups(), support[0], mask[0], query[0])
    tools.close(ours[0, 0], theirs[1] - theirs[0])


def _groups():
    from fss_jax.methods import backbones

    return backbones.get("vgg16").level_maps


def test_hsnet_lets_shots_vote():
    model, inputs = HSNet(width=1 / 16), episode(3, 2, 64)
    made = variables_of(model, inputs)
    ours = np.asarray(reference_layers.compiled(model.apply)(made, *inputs))[0]
    support, mask, query = tensors(inputs)
    params = weights(made["params"])
    shots = [
        [reference.hsnet_one(params, _groups(), support[k], mask[k], q) for k in range(3)]
        for q in query
    ]
    unsure = np.array([[np.abs((s[1] - s[0]).numpy()) < 1e-4 for s in each] for each in shots]).any(
        1
    )
    expected = np.stack([reference.hsnet_votes(each).numpy() for each in shots])
    assert 0.01 < expected.mean() < 0.99
    np.testing.assert_array_equal((ours > 0)[~unsure], expected[~unsure])


def test_the_learners_gradient():
    model, inputs = HSNet(width=1 / 16), episode(1, 1, 64)
    made = variables_of(model, inputs)

    def loss(learner):
        params = {**made["params"], "learner": learner}
        return jnp.square(model.apply({"params": params}, *inputs)).mean()

    ours = reference_layers.compiled(jax.grad(loss))(made["params"]["learner"])
    params = weights(made["params"])
    leaves = {}

    def leaf(path, tree):
        if isinstance(tree, dict):
            return {k: leaf((*path, k), v) for k, v in tree.items()}
        leaves[path] = tree.clone().contiguous().requires_grad_()
        return leaves[path]

    params["learner"] = leaf((), params["learner"])
    support, mask, query = tensors(inputs)
    scores = reference.hsnet_one(params, _groups(), support[0], mask[0], query[0])
    (scores[1] - scores[0]).square().mean().backward()
    for path in (("encoder_layer2", "conv0", "conv2"), ("encoder_layer4to3", "conv1", "conv1")):
        found = functools.reduce(lambda tree, key: tree[key], path, ours)["kernel"]
        theirs = leaves[(*path, "kernel")].grad.permute(2, 3, 1, 0)
        tools.close_in_norm(found, theirs, 1e-3)


@pytest.mark.parametrize("refine", [True, False])
def test_ssp(refine):
    model = SSP(backbone="vgg16", width=1 / 16, refine=refine, projection=24)
    inputs = episode(2, 2, 96)
    made = variables_of(model, inputs)
    ours = reference_layers.compiled(model.apply)(made, *inputs)
    support, mask, query = tensors(inputs)
    support, query = (_features(made, x) for x in (support, query))
    for n, features in enumerate(query):
        theirs, _ = reference.ssp(support, mask, features, refine=refine)
        theirs = theirs[None, 1:] - theirs[None, :1]
        theirs = torch.nn.functional.interpolate(
            theirs, (96, 96), mode="bilinear", align_corners=True
        )[0, 0]
        tools.close(ours[0, n], theirs)


def test_ssp_where_nothing_is_sure():
    """Random features score all cells alike: the twelve best stand in."""
    rng = np.random.default_rng(3)
    feature, prototype = rng.standard_normal((24, 9, 9)), rng.standard_normal((2, 24))
    scores = 0.1 * reference.ssp_scores(torch.tensor(feature), *torch.tensor(prototype))
    theirs = reference.self_support(torch.tensor(feature), scores)
    from fss_jax.methods import ssp

    cells = jnp.asarray(feature.reshape(24, -1).T, jnp.float32)
    ours = ssp.self_support(cells, jnp.asarray(scores.flatten(1).numpy(), jnp.float32))
    tools.close(ours[0], theirs[0])
    tools.close(ours[1], theirs[1])
    tools.close(ours[2], theirs[2].flatten(1).T)


def test_the_loss_of_ssp_and_its_gradient():
    model = SSP(backbone="vgg16", width=1 / 16, projection=24)
    support, mask, query = inputs = episode(2, 2, 64)
    mask = mask.at[:, 0, :4].set(-1.0)
    query_mask = jnp.zeros((1, 2, 64, 64)).at[:, :, 20:50, 10:40].set(1.0)
    made = variables_of(model, inputs)

    def loss(project):
        params = {**made["params"], "project": project}
        return model.apply(
            {"params": params}, support, mask, query, query_mask, train=True, method="loss"
        )

    graded = reference_layers.compiled(jax.value_and_grad(loss))
    ours, gradient = graded(made["params"]["project"])
    kernel = weights(made["params"])["project"]["kernel"].clone().contiguous().requires_grad_()
    support, mask, query = tensors((support, mask, query))
    support, query = (_features(made, x, kernel) for x in (support, query))
    theirs = reference.ssp_loss(
        support, mask, query, torch.tensor(np.asarray(query_mask[0])).double()
    )
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-4)
    theirs.backward()
    tools.close_in_norm(gradient["kernel"], kernel.grad.permute(2, 3, 1, 0), 1e-3)


def _features(made, x, kernel=None):
    params = weights(made["params"])
    maps = reference.vgg(params["encoder"], x, dense=True)
    return torch.nn.functional.conv2d(
        maps["linear5_3"], params["project"]["kernel"] if kernel is None else kernel
    )
