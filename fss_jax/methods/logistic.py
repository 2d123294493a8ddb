"""Linear classifiers of cells, fitted to each support: logistic regression and SVM (OSLSM 6).

Fitted by optax's L-BFGS on the device, all episodes of a batch side by side; the SVM starts from the
solution of its guessed active set.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fss_jax.methods.contract.dense import DenseMethod

LOSSES = ("logistic", "squared_hinge")
TOLERANCE = 1e-7  # a step that lowers the objective by less, relatively, is the last
GUESSES = 30  # of the SVM's cells within the margin; 3 to 8 are the rule
HIGHEST = jax.lax.Precision.HIGHEST


class LinearClassifier(DenseMethod):
    """Regularized logistic regression or linear SVM on fc7 features.

    A support of one class alone leaves nothing to fit: its score is 1 everywhere if all cells are the
    object's, else -1. The network itself is trained elsewhere.

    Attributes:
      loss: 'logistic', or 'squared_hinge' for the SVM.
      strength: weight of the loss against the regularizer, scikit-learn's C.
      iterations: most steps of L-BFGS.
    """

    loss: str = "logistic"
    strength: float = 1.0
    iterations: int = 500

    trained = False
    any_shots = False
    stands_on = "fcn"
    tuned = "strength"
    toy = DenseMethod.toy | {"iterations": 3}

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
    iterations: int = 500,
) -> tuple[Float[Array, "c"], Float[Array, ""]]:
    """Minimizes |w|^2 / 2 + strength * sum loss(x w + b); b is not regularized.

    Args:
      label: 1 or 0; others are left out.
      strength: scikit-learn's C.
      loss: 'logistic' or 'squared_hinge', as scikit-learn's LogisticRegression and LinearSVC.
      iterations: most steps; a step that gains nothing is the last.

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
    # The bias takes up any shift of the features; around their mean the problem is far better
    # conditioned, and rounds less.
    center = jnp.einsum("n,nc->c", used, features) / jnp.maximum(used.sum(), 1.0)
    # With w = root * u and the objective divided by root^2, a small strength leaves no tiny gradients.
    root = jnp.sqrt(jnp.minimum(strength, 1.0))
    weight = jnp.maximum(strength, 1.0)
    x = root * (features - center[None, :]) * used[:, None]

    def objective(parameters):
        u, b = parameters
        margin = sign * (jnp.dot(x, u, precision=HIGHEST) + b)
        if loss == "logistic":
            each = jax.nn.softplus(-margin)
        else:
            each = jnp.square(jnp.maximum(1.0 - margin, 0.0))
        return u @ u / 2 + weight * (used * each).sum()

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(state):
        count, parameters, memory, _ = state
        value, grad = value_and_grad(parameters, state=memory)
        updates, memory = optimizer.update(
            grad, memory, parameters, value=value, grad=grad, value_fn=objective
        )
        parameters = optax.apply_updates(parameters, updates)
        done = value - optax.tree.get(memory, "value") <= TOLERANCE * value
        return count + 1, parameters, memory, done

    def improving(state):
        return (state[0] < iterations) & ~state[-1]

    first = (jnp.zeros(x.shape[1]), jnp.float32(0))
    if loss == "squared_hinge":
        first = _lower(objective, _active_set(x, sign, used, weight), first)
    start = (0, first, optimizer.init(first), False)
    _, (u, bias), *_ = jax.lax.while_loop(improving, step, start)
    w = root * u
    bias = bias - jnp.dot(w, center, precision=HIGHEST)
    return w, jnp.where(both, bias, jnp.where(found, 1.0, -1.0))


def _active_set(
    x: Float[Array, "n c"],
    sign: Float[Array, "n"],
    used: Float[Array, "n"],
    weight: Float[Array, ""],
) -> tuple[Float[Array, "c"], Float[Array, ""]]:
    """The SVM's u and b where at most twice as many cells as features are used, else zeros.

    Then the margin is nearly hard, cells enter and leave it all the time, and L-BFGS creeps. So the
    cells within it are guessed and solved for: with u = x' alpha these have x x' alpha + alpha / 2C
    + b = sign, and alphas that sum to 0; all others have alpha = 0 (Lawson and Hanson's active set).
    With many more cells this system is singular to rounding, and L-BFGS does well.
    """
    hard = used.sum() <= 2 * x.shape[1]

    def gram(v):
        return jnp.dot(x, jnp.dot(v, x, precision=HIGHEST), precision=HIGHEST)

    def step(state):
        count, within, *_ = state

        def times(v):
            return within * gram(within * v) + v / (2 * weight)

        def solve(right):
            return jax.scipy.sparse.linalg.cg(times, within * right, tol=1e-7, maxiter=100)[0]

        alpha, shift = solve(sign), solve(jnp.ones_like(sign))
        bias = alpha.sum() / jnp.maximum(shift.sum(), 1e-30)
        alpha = alpha - bias * shift
        # A cell whose alpha turned against its label is beyond the margin. To ask its score would be
        # the same but for rounding, which decides where the margin is nearly hard.
        beyond = sign * (gram(alpha) + bias) >= 1
        new = used * jnp.where(within > 0, sign * alpha > 0, ~beyond)
        return count + 1, new, alpha, bias, (new != within).any()

    def changing(state):
        return hard & (state[0] < GUESSES) & state[-1]

    start = (0, used, jnp.zeros_like(sign), jnp.float32(0), True)
    _, _, alpha, bias, _ = jax.lax.while_loop(changing, step, start)
    return jnp.dot(alpha, x, precision=HIGHEST), bias


def _lower(objective, one, other):
    """Whichever parameters have the lower objective; NaN loses."""
    better = objective(one) < objective(other)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), one, other)


METHOD = LinearClassifier
