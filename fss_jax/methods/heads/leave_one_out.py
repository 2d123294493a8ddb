"""What the supports say about one another: weights of several scores, a threshold, an IoU to expect.

Each support image was scored by the others, so its mask is an honest test. With one image there is
no such test, and what was usual on the development photographs stands.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fss_jax.methods.heads.ridge import halves

STEPS = 12  # of Newton's method; a logistic regression of three numbers has settled by then
THRESHOLDS = 96


def combine(
    scores: Float[Array, "k m h"],
    inside: Float[Array, "k m"],
    outside: Float[Array, "k m"],
    usual: Float[Array, "h1"],
    strength: float,
) -> Float[Array, "h1"]:
    """Logistic regression of object against background on several scores of each cell.

    Args:
      scores: of supports by the others, in units in which they are about 1.
      inside, outside: a cell's part that is object, background.
      usual: the weights, then the offset, that the answer is drawn to.
      strength: how strongly; the cells of all images weigh 1 together.
    """
    x = jnp.concatenate([scores, jnp.ones((*scores.shape[:2], 1))], -1).reshape(-1, len(usual))
    # All images at once, each side half: an image with a small object does not count for more.
    positive, negative = halves(inside.reshape(1, -1), outside.reshape(1, -1))
    weight = (positive + negative)[0]
    target = positive[0] / jnp.maximum(weight, 1e-12)
    shrunk = jnp.full(len(usual), strength).at[-1].set(strength / 10)

    def step(_, w):
        p = jax.nn.sigmoid(x @ w)
        slope = x.T @ (weight * (p - target)) + shrunk * (w - usual)
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + jnp.diag(shrunk)
        change = jnp.linalg.solve(curve, slope)
        return w - change / jnp.maximum(1.0, jnp.abs(change).max() / 4)

    return jax.lax.fori_loop(0, STEPS, step, usual)


def overlaps(
    logits: Float[Array, "k m"],
    inside: Float[Array, "k m"],
    outside: Float[Array, "k m"],
    thresholds: Float[Array, "t"],
) -> Float[Array, "k t"]:
    """IoU of each image's cells above each threshold with its mask, undecided parts left out."""
    area = (inside + outside).clip(0.0, 1.0)

    def at(threshold):
        chosen = (logits > threshold).astype(jnp.float32)
        both = (chosen * inside).sum(1)
        return both / jnp.maximum(inside.sum(1) + (chosen * area).sum(1) - both, 1e-6)

    return jax.lax.map(at, thresholds).T


def threshold(
    logits: Float[Array, "k m"],
    inside: Float[Array, "k m"],
    outside: Float[Array, "k m"],
) -> tuple[Float[Array, ""], Float[Array, "k"]]:
    """The threshold of the best mean IoU over images, and each image's IoU at it.

    Images that show no object have no say, those of which nothing is decided not even in what is
    tried.
    """
    shown = inside.sum(1) > 0
    quantiles = 1 - jnp.geomspace(0.002, 0.98, THRESHOLDS)
    some = jnp.where((inside + outside).sum(1, keepdims=True) > 0, logits, jnp.nan)[:, ::3]
    tried = jnp.nan_to_num(jnp.nanquantile(some.reshape(-1), quantiles))
    found = overlaps(logits, inside, outside, tried)
    mean = (found * shown[:, None]).sum(0) / jnp.maximum(shown.sum(), 1)
    # A plateau's middle is surer than a peak: the supports are few.
    smooth = (jnp.pad(mean, 1, mode="edge")[:-2] + 2 * mean + jnp.pad(mean, 1, mode="edge")[2:]) / 4
    best = smooth.argmax()
    return tried[best], found[:, best]
