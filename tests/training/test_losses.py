"""Losses against their definitions in float64, and over devices that share a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax.training.losses import LOSSES, segmentation_loss

B, Q, SIDE = 4, 2, 6


@pytest.fixture(scope="module")
def batch():
    """Objects and void are spread unevenly: the last episode is almost all void."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (B, Q, SIDE, SIDE)).astype(np.float32)
    share = np.asarray([0.9, 0.1, 0.5, 0.3])[:, None, None, None]
    mask = (rng.random(logits.shape) < share).astype(np.float32)
    valid = (rng.random(logits.shape) < np.asarray([1, 0.9, 0.6, 0.05])[:, None, None, None]) * 1.0
    return logits, mask, valid.astype(np.float32)


def reference(logits, mask, valid, kind, foreground):
    """The definitions, one pixel at a time."""
    total = weights = 0.0
    for x, y, v in zip(logits.ravel(), mask.ravel(), valid.ravel(), strict=True):
        p = 1 / (1 + np.exp(-float(x)))
        weight = float(v) * (foreground if y else 1.0)
        cost = (p - y) ** 2 if kind == "mse" else -np.log(p if y else 1 - p)
        total, weights = total + weight * cost, weights + weight
    return total / (B if kind == "sum" else weights)


@pytest.mark.parametrize("foreground", [1.0, 3.0])
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_are_their_definitions(batch, kind, foreground):
    loss = segmentation_loss(*map(jnp.asarray, batch), kind=kind, foreground_weight=foreground)
    assert float(loss) == pytest.approx(reference(*batch, kind, foreground), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOSSES)
def test_the_mean_over_devices_is_the_loss_of_the_whole_batch(batch, kind):
    """Value and gradient, though the devices hold objects and void of different sizes."""
    arrays = tuple(map(jnp.asarray, batch))

    def loss(logits, mask, valid, axis_name=None):
        return segmentation_loss(
            logits, mask, valid, kind=kind, foreground_weight=3.0, axis_name=axis_name
        )

    def on_device(*shard):
        value, grad = jax.value_and_grad(loss)(*shard, "devices")
        return jax.lax.pmean(value, "devices"), grad / 2

    value, grad = jax.value_and_grad(loss)(*arrays)
    shards = [a.reshape(2, B // 2, *a.shape[1:]) for a in arrays]
    values, grads = jax.vmap(on_device, axis_name="devices")(*shards)
    np.testing.assert_allclose(values, jnp.broadcast_to(value, 2), rtol=1e-5)
    np.testing.assert_allclose(grads.reshape(grad.shape), grad, rtol=1e-4, atol=1e-8)


def test_void_pixels_and_their_logits_do_not_matter(batch):
    logits, mask, valid = map(jnp.asarray, batch)
    for kind in LOSSES:
        one = segmentation_loss(logits, mask, valid, kind=kind)
        other = segmentation_loss(jnp.where(valid > 0, logits, 50.0), mask, valid, kind=kind)
        assert float(one) == float(other)


def test_a_batch_without_a_valid_pixel_costs_nothing():
    zeros = jnp.zeros((1, 1, 4, 4))
    assert [float(segmentation_loss(zeros, zeros, zeros, kind=k)) for k in LOSSES] == [0, 0, 0]


def test_large_logits_stay_finite(batch):
    logits, mask, valid = map(jnp.asarray, batch)
    for kind in LOSSES:
        value, grad = jax.value_and_grad(segmentation_loss)(logits * 1e6, mask, valid, kind=kind)
        assert np.isfinite(value) and np.isfinite(grad).all()


def test_an_unknown_loss_is_named(batch):
    with pytest.raises(ValueError, match="unknown loss 'dice'; expected one of sum, mean, mse"):
        segmentation_loss(*map(jnp.asarray, batch), kind="dice")
