"""Linear classifiers of cells, fitted to each support: logistic regression and SVM (OSLSM 5.1).

With thousands of features and some hundred cells, the fit lives in the space of cells: the weights
are a combination of the support's features, w = X' a, and each Newton step solves a system as large
as the number of cells, on the device.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fss_jax.models.dense import DenseMethod

LOSSES = ("logistic", "squared_hinge")
STEPS = tuple(0.5**i for i in range(12)) + (0.0,)  # of the line search
HIGHEST = jax.lax.Precision.HIGHEST


class LinearClassifier(DenseMethod):
    """Regularized logistic regression or linear SVM on fc7 features.

    A support of one class alone leaves nothing to fit: its score is 1 everywhere if all cells are the
    object's, else -1. The network itself is trained elsewhere.

    Attributes:
      loss: 'logistic', or 'squared_hinge' for the SVM.
      strength: weight of the loss against the regularizer, scikit-learn's C.
      iterations: most Newton steps.
    """

    loss: str = "logistic"
    strength: float = 1.0
    iterations: int = 50

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> dict[str, Float[Array, "b ..."]]:
        """The classifier: {'w': [b, c], 'b': [b]}."""
        features, label = self.encode_support(support_image, support_mask, train=train)

        def one(x, y):
            return fit(x, y, self.strength, self.loss, self.iterations)

        w, b = jax.vmap(one)(jax.lax.stop_gradient(features), label)
        return {"w": w, "b": b}

    def segment(
        self,
        task: dict[str, Float[Array, "b ..."]],
        query_image: Float[Array, "b q h w 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "b q h w"]:
        """Logits: the classifier's score of each cell, upsampled."""
        x = self.encode(query_image, train=train)
        score = jnp.einsum("bqhwc,bc->bqhw", x, task["w"], precision=HIGHEST)
        return self.upsample(score + task["b"][:, None, None, None], query_image)


def fit(
    features: Float[Array, "n c"],
    label: Int[Array, "n"],
    strength: float | Float[Array, ""],
    loss: str = "logistic",
    iterations: int = 50,
) -> tuple[Float[Array, "c"], Float[Array, ""]]:
    """Minimizes |w|^2 / 2 + strength * sum loss(x w + b) by Newton's method; b is not regularized.

    Args:
      label: 1 or 0; others are left out.
      strength: scikit-learn's C.
      loss: 'logistic' or 'squared_hinge', as scikit-learn's LogisticRegression and LinearSVC.
      iterations: most steps; a step that no longer changes anything is the last.

    Returns:
      w and b. With one class alone w = 0 and b = 1 (objects) or -1.

    Raises:
      ValueError: an unknown loss.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss {loss!r}: choose one of {', '.join(LOSSES)}")
    used = (label >= 0).astype(jnp.float32)
    sign = jnp.where(label == 1, 1.0, -1.0)
    found, other = (used * (sign > 0)).sum() > 0, (used * (sign < 0)).sum() > 0
    both = found & other
    used = used * both  # nothing to fit to one class: its bias would run away
    # The bias takes up any shift of the features, and what is centered rounds less.
    center = jnp.einsum("n,nc->c", used, features) / jnp.maximum(used.sum(), 1.0)
    x = (features - center[None, :]) * used[:, None]
    gram = jnp.einsum("ic,jc->ij", x, x, precision=HIGHEST)
    solver = _logistic if loss == "logistic" else _squared_hinge
    alpha, bias = solver(gram, sign, used, strength, iterations)
    w = jnp.einsum("n,nc->c", alpha, x, precision=HIGHEST)
    bias = bias - jnp.dot(w, center, precision=HIGHEST)
    return w, jnp.where(both, bias, jnp.where(found, 1.0, -1.0))


def _logistic(gram: Array, sign: Array, used: Array, strength, iterations: int):
    """alpha and b of logistic regression, by Newton's method with a line search."""

    def objective(alpha, product, bias):
        loss = jax.nn.softplus(-sign * (product + bias))
        return alpha @ product / 2 + strength * (used * loss).sum()

    def step(state):
        count, alpha, product, bias, best, _ = state
        score = product + bias
        wrong = jax.nn.sigmoid(-sign * score)
        root = jnp.sqrt(strength * used * wrong * (1.0 - wrong))
        slope = -strength * used * sign * wrong
        target = root * score - slope / jnp.where(root > 0, root, 1.0)
        new, new_bias = _solve(gram, root, target, bias)
        moves = (new - alpha, gram @ new - product, new_bias - bias)
        sizes = jnp.asarray(STEPS)
        values = jax.vmap(
            lambda t: objective(alpha + t * moves[0], product + t * moves[1], bias + t * moves[2])
        )(sizes)
        size = sizes[jnp.argmin(values)]
        alpha, product, bias = (
            old + size * move for old, move in zip((alpha, product, bias), moves, strict=True)
        )
        return count + 1, alpha, product, bias, values.min(), best - values.min()

    def improving(state):
        count, *_, best, gain = state
        return (count < iterations) & (gain > 1e-7 * best)

    zeros = jnp.zeros(len(gram))
    start = (0, zeros, zeros, jnp.float32(0), objective(zeros, zeros, 0.0), jnp.float32(jnp.inf))
    _, alpha, _, bias, _, _ = jax.lax.while_loop(improving, step, start)
    return alpha, bias


def _squared_hinge(gram: Array, sign: Array, used: Array, strength, iterations: int):
    """alpha and b of the SVM: solved for the cells within the margin, until these are the same."""

    def step(state):
        count, within, _, bias, _ = state
        root = jnp.sqrt(2 * strength * within)
        alpha, bias = _solve(gram, root, root * sign, bias)
        # A cell whose alpha turned against its label is beyond the margin. To ask its score would be
        # the same but for rounding, which decides where the margin is nearly hard.
        beyond = sign * (gram @ alpha + bias) >= 1
        new = used * jnp.where(within > 0, sign * alpha > 0, ~beyond)
        return count + 1, new, alpha, bias, (new != within).any()

    def changing(state):
        count, *_, changed = state
        return (count < iterations) & changed

    start = (0, used, jnp.zeros(len(gram)), jnp.float32(0), True)
    _, _, alpha, bias, _ = jax.lax.while_loop(changing, step, start)
    return alpha, bias


def _solve(gram: Array, root: Array, target: Array, bias: Array) -> tuple[Array, Array]:
    """alpha and b with (G + 1 / D) alpha + b = z, summing to 0, for b is not regularized.

    Args:
      root: roots of the curvatures D, which may be 0: such an alpha is 0.
      target: root * z.
      bias: what b is if no curvature is left.
    """
    system = jnp.eye(len(gram)) + root[:, None] * gram * root[None, :]
    right = jnp.stack([target, root], -1)
    solved = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(system), True), right)
    solved = root[:, None] * solved
    total = solved[:, 1].sum()
    bias = jnp.where(total > 0, solved[:, 0].sum() / jnp.where(total > 0, total, 1.0), bias)
    return solved[:, 0] - bias * solved[:, 1], bias
