"""What the supports say about one another: weights of several scores, how rare the object is, an IoU.

Each support image was scored by the others, so its mask is an honest test. With one image there is
no such test, and what was usual on the development photographs stands.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fss_jax.methods.heads import expected_iou
from fss_jax.methods.heads.ridge import halves

STEPS = 12  # of Newton's method; a logistic regression of three numbers has settled by then
# To log odds that take object and background for equally frequent: what was usual on the development
# photographs, what is tried, and by how much more mean IoU the square of a distance must pay.
USUAL, OFFSETS, HELD = -2.0, np.arange(-5.0, 1.01, 0.25, np.float32), 0.01


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


def offset(
    logits: Float[Array, "k m"],
    inside: Float[Array, "k m"],
    outside: Float[Array, "k m"],
    tried: Float[np.ndarray, "t"] = OFFSETS,
) -> tuple[Float[Array, ""], Float[Array, "k"]]:
    """What to add to logits so that masks cut by them have the best mean IoU; each image's IoU then.

    Args:
      logits: of images whose masks are known.
      inside, outside: a cell's part that is object, background. Images that show no object have no
        say.
      tried: at even steps.
    """
    area = (inside + outside).clip(0.0, 1.0)

    def overlap(added):
        moved = logits + added
        mask = moved > expected_iou.cut(moved, area)[:, None]
        both = jnp.where(mask, inside, 0.0).sum(1)
        return both / jnp.maximum(jnp.where(mask, area, inside).sum(1), 1e-6)

    tried = jnp.asarray(tried)
    found = jax.lax.map(overlap, tried).T
    shown = inside.sum(1) > 0
    mean = (found * shown[:, None]).sum(0) / jnp.maximum(shown.sum(), 1)
    # A plateau's middle is surer than a peak, and what is usual surer than what is not: the images are
    # few.
    near = jnp.pad(mean, 2, mode="edge")
    smooth = jnp.convolve(near, jnp.asarray([1.0, 2.0, 3.0, 2.0, 1.0]) / 9, mode="valid")
    best = (smooth - HELD * jnp.square(tried - USUAL)).argmax()
    return tried[best], found[:, best]
