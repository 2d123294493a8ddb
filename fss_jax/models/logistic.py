"""Linear classifiers of cells, fitted to each support: logistic regression and SVM (OSLSM 5.1).

With thousands of features and some hundred cells, the fit lives in the space of cells: the weights
are a combination of the support's features, w = X' a, and each Newton step solves a system as large
as the number of cells, on the device.
"""

import jax
import jax.numpy as jnp
import jax.scipy.sparse.linalg
from jaxtyping import Array, Float, Int

from fss_jax.models.dense import DenseMethod

LOSSES = ("logistic", "squared_hinge")
STEPS = tuple(0.5**i for i in range(12)) + (0.0,)  # of the line search
EASY, GROWTH = 4e6, 4.0  # strength * trace(G) to begin with, and its growth per step
ADDED = 4e-7  # of a system's trace: enough for float32 to factor it
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
    solver = _logistic if loss == "logistic" else _squared_hinge
    alpha, bias = solver(x, sign, used, strength, iterations)
    w = jnp.einsum("n,nc->c", alpha, x, precision=HIGHEST)
    bias = bias - jnp.dot(w, center, precision=HIGHEST)
    return w, jnp.where(both, bias, jnp.where(found, 1.0, -1.0))


def _logistic(x: Array, sign: Array, used: Array, strength, iterations: int):
    """alpha and b of logistic regression, by Newton's method with a line search.

    From a start at 0, where all curvatures are large, a great strength cannot be reached in float32:
    it grows on the way, so that the cells far from the border lose their curvature first.
    """
    gram = _gram(x)
    first = EASY / jnp.maximum(jnp.trace(gram), 1e-6)

    def step(state):
        count, alpha, product, bias, _ = state
        now = jnp.minimum(strength, first * GROWTH**count)

        def objective(alpha, product, bias):
            loss = jax.nn.softplus(-sign * (product + bias))
            return alpha @ product / 2 + now * (used * loss).sum()

        score = product + bias
        wrong = jax.nn.sigmoid(-sign * score)
        root = jnp.sqrt(now * used * wrong * (1.0 - wrong))
        slope = -now * used * sign * wrong
        target = root * score - slope / jnp.where(root > 0, root, 1.0)
        new, new_bias = _solve(x, gram, root, target, bias)
        moves = (new - alpha, _times_gram(x, new) - product, new_bias - bias)
        sizes = jnp.asarray(STEPS)
        values = jax.vmap(
            lambda t: objective(alpha + t * moves[0], product + t * moves[1], bias + t * moves[2])
        )(sizes)
        size = sizes[jnp.argmin(values)]
        alpha, product, bias = (
            old + size * move for old, move in zip((alpha, product, bias), moves, strict=True)
        )
        done = (now >= strength) & (values[-1] - values.min() <= 1e-7 * values[-1])
        return count + 1, alpha, product, bias, done

    def improving(state):
        return (state[0] < iterations) & ~state[-1]

    zeros = jnp.zeros(len(x))
    start = (0, zeros, zeros, jnp.float32(0), False)
    _, alpha, _, bias, _ = jax.lax.while_loop(improving, step, start)
    return alpha, bias


def _squared_hinge(x: Array, sign: Array, used: Array, strength, iterations: int):
    """alpha and b of the SVM: solved for the cells within the margin, until these are the same."""

    gram = _gram(x)

    def step(state):
        count, within, _, bias, _ = state
        root = jnp.sqrt(2 * strength * within)
        alpha, bias = _solve(x, gram, root, root * sign, bias)
        # A cell whose alpha turned against its label is beyond the margin. To ask its score would be
        # the same but for rounding, which decides where the margin is nearly hard.
        beyond = sign * (_times_gram(x, alpha) + bias) >= 1
        new = used * jnp.where(within > 0, sign * alpha > 0, ~beyond)
        return count + 1, new, alpha, bias, (new != within).any()

    def changing(state):
        count, *_, changed = state
        return (count < iterations) & changed

    start = (0, used, jnp.zeros(len(x)), jnp.float32(0), True)
    _, _, alpha, bias, _ = jax.lax.while_loop(changing, step, start)
    return alpha, bias


def _solve(x: Array, gram: Array, root: Array, target: Array, bias: Array) -> tuple[Array, Array]:
    """alpha and b with (G + 1 / D) alpha + b = z, summing to 0, for b is not regularized.

    In float32 the system can be singular to rounding: more cells than features, which are large. So
    it is factored with something added to its diagonal, which conjugate gradients then make good.

    Args:
      x: the centered features, with G = x x'.
      root: roots of the curvatures D, which may be 0: such an alpha is 0.
      target: root * z.
      bias: what b is if no curvature is left.
    """
    scaled = root[:, None] * x
    added = 1.0 + ADDED * jnp.square(scaled).sum()
    few = x.shape[1] < len(x)  # features: then a system as large as their number does (Woodbury)
    system = _gram(scaled.T) if few else root[:, None] * gram * root[None, :]
    factor = (jnp.linalg.cholesky(system + added * jnp.eye(len(system))), True)

    def precondition(v):
        if not few:
            return jax.scipy.linalg.cho_solve(factor, v)
        return (v - scaled @ jax.scipy.linalg.cho_solve(factor, v @ scaled)) / added

    def times(v):
        return v + root * _times_gram(x, root * v)

    def solve(right):
        return jax.scipy.sparse.linalg.cg(times, right, M=precondition, tol=1e-7, maxiter=30)[0]

    solved = root[:, None] * jax.vmap(solve, out_axes=-1)(jnp.stack([target, root]))
    total = solved[:, 1].sum()
    bias = jnp.where(total > 0, solved[:, 0].sum() / jnp.where(total > 0, total, 1.0), bias)
    return solved[:, 0] - bias * solved[:, 1], bias


def _gram(x: Array) -> Array:
    return jnp.einsum("ic,jc->ij", x, x, precision=HIGHEST)


def _times_gram(x: Array, v: Array) -> Array:
    """G v by way of the weights x' v, which rounds less than G does."""
    w = jnp.einsum("nc,n->c", x, v, precision=HIGHEST)
    return jnp.einsum("nc,c->n", x, w, precision=HIGHEST)
