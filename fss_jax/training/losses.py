"""Training losses over the pixels that count."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

LOSSES = ("sum", "mean", "mse")


def segmentation_loss(
    logits: Float[Array, "b q h w"],
    mask: Float[Array, "b q h w"],
    valid: Float[Array, "b q h w"],
    *,
    kind: str,
    foreground_weight: float = 1.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """The loss of a batch of episodes.

    Args:
      logits: before the sigmoid.
      mask, valid: 0 or 1.
      kind: 'sum' sums the cross entropy over an episode's pixels and averages episodes (OSLSM 4.3 and
        Caffe's SigmoidCrossEntropyLoss with one image a batch); 'mean' averages over the valid
        pixels (FSS-1000's BCE); 'mse' is the mean squared error of the sigmoid (FSS-1000's release).
      foreground_weight: factor on object pixels.
      axis_name: axis of the devices that share the batch. Weights are averaged over it, so that the
        mean of the devices' losses is the loss of the whole batch however its objects are spread.
    """
    weight = valid * jnp.where(mask > 0, foreground_weight, 1.0)
    total = weight.sum()
    if axis_name:
        total = jax.lax.pmean(total, axis_name)
    if kind == "mse":
        error = jnp.square(jax.nn.sigmoid(logits) - mask)
        return (error * weight).sum() / jnp.maximum(total, 1.0)
    entropy = optax.sigmoid_binary_cross_entropy(logits, mask) * weight
    if kind == "sum":
        return entropy.sum() / logits.shape[0]
    if kind == "mean":
        return entropy.sum() / jnp.maximum(total, 1.0)
    raise ValueError(f"unknown loss {kind!r}; expected one of {', '.join(LOSSES)}")
