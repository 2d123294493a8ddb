"""Fine-tuning: its steps against hand-written ones in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference

from fss_jax.data import imaging
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.finetune import FineTuning
from fss_jax.methods.layers import cells

FIELDS = {"geometry": "dilated4", "blocks": ((1, 8), (1, 8)), "hidden": 12, "fc6_size": 1}
FIELDS |= {"preprocessing": "centered"}
RATE, MOMENTUM = 0.05, 0.9


def episode(seed=0):
    rng = np.random.default_rng(seed)
    support, query = (rng.uniform(0, 255, (1, n, 16, 16, 3)).astype(np.float32) for n in (2, 1))
    mask = np.zeros((1, 2, 16, 16), np.float32)
    mask[0, 0, 4:12, 2:9] = mask[0, 1, 8:, 8:] = 1
    support[mask > 0] = support[mask > 0] * 0.2 + 200
    return jnp.asarray(support), jnp.asarray(mask), jnp.asarray(query)


def hand_written_steps(params, maps, mask, steps):
    """SGD with momentum on fc6, fc7 (1x1), BatchNorm and fc8, gradients written out."""
    relu = reference.relu
    w6, b6, w7, b7 = (
        params[name][leaf].astype(np.float64).reshape(shape)
        for name in ("fc6", "fc7")
        for leaf, shape in (("kernel", (-1, 12)), ("bias", (12,)))
    )
    theta = [w6, b6, w7, b7, np.ones(12), np.zeros(12), np.zeros(12), np.zeros(())]
    speed = [np.zeros_like(x) for x in theta]
    x = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    rows = cells.interpolation(16, 4, cells.geometry("dilated4"), 1.5)
    for _ in range(steps):
        w6, b6, w7, b7, scale, shift, w8, b8 = theta
        h6 = relu(x @ w6 + b6)
        h7 = relu(h6 @ w7 + b7)
        mean, inverse = h7.mean(0), 1 / np.sqrt(h7.var(0) + 1e-5)
        normal = (h7 - mean) * inverse
        score = ((normal * scale + shift) @ w8 + b8).reshape(2, 4, 4)
        logits = np.einsum("yi,nij,xj->nyx", rows, score, rows)
        d_logits = (1 / (1 + np.exp(-logits)) - mask) / mask.size
        d_score = np.einsum("yi,nyx,xj->nij", rows, d_logits, rows).reshape(-1, 1)
        d_out = d_score * w8
        d_normal = d_out * scale
        d_h7 = inverse * (d_normal - d_normal.mean(0) - normal * (d_normal * normal).mean(0))
        d_7 = d_h7 * (h7 > 0)
        d_6 = (d_7 @ w7.T) * (h6 > 0)
        gradient = [
            x.T @ d_6,
            d_6.sum(0),
            h6.T @ d_7,
            d_7.sum(0),
            (d_out * normal).sum(0),
            d_out.sum(0),
            ((normal * scale + shift) * d_score).sum(0),
            d_score.sum(),
        ]
        speed = [MOMENTUM * v + g for v, g in zip(speed, gradient, strict=True)]
        theta = [p - RATE * v for p, v in zip(theta, speed, strict=True)]
    return theta


@pytest.mark.slow
def test_steps_equal_hand_written_ones():
    support, mask, query = episode()
    model = FineTuning(**FIELDS, steps=4, learning_rate=RATE, momentum=MOMENTUM)
    shapes = jax.eval_shape(model.init, jax.random.key(0), support, mask, query)
    variables = reference.random_variables(shapes)
    task = reference.compiled(lambda *args: model.apply(variables, *args, method="condition"))(
        support, mask
    )
    layers = variables["params"]["features"]
    trunk = VGG(stride=4, hidden=0, outputs=0, blocks=FIELDS["blocks"])
    maps = trunk.apply({"params": layers}, imaging.normalize(support[0], FIELDS["preprocessing"]))[
        0
    ]
    expected = hand_written_steps(
        jax.tree.map(np.asarray, layers), np.asarray(maps), np.asarray(mask[0], np.float64), 4
    )
    ours = task["params"]
    found = [ours["fc6"]["kernel"], ours["fc6"]["bias"], ours["fc7"]["kernel"], ours["fc7"]["bias"]]
    found += [ours["bn7"]["scale"], ours["bn7"]["bias"], ours["fc8"]["kernel"], ours["fc8"]["bias"]]
    for leaf, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(leaf)[0].reshape(value.shape), value, atol=2e-5)
    moved = np.abs(np.asarray(ours["fc6"]["kernel"])[0] - layers["fc6"]["kernel"]).max()
    assert moved > 1e-4, "fc6 is fine-tuned, too"


@pytest.mark.slow
def test_learns_the_support_and_leaves_the_network_as_it_is():
    support, mask, _ = episode()
    model = FineTuning(**FIELDS | {"blocks": ((1, 16), (1, 32)), "hidden": 32}, learning_rate=0.05)
    shapes = jax.eval_shape(model.init, jax.random.key(0), support, mask, support)
    variables = reference.random_variables(shapes)
    logits = reference.compiled(model.apply)(variables, support, mask, support)
    found, mask = np.asarray(logits > 0), np.asarray(mask > 0)
    assert (found & mask).sum() / (found | mask).sum() > 0.7
