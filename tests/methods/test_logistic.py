"""Linear classifiers: against scikit-learn and scipy on the same objective."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers as reference
from scipy.optimize import minimize

from fss_jax.methods.logistic import LOSSES, LinearClassifier, fit

N, C = 300, 100
FIT = {loss: reference.compiled(functools.partial(fit, loss=loss)) for loss in LOSSES}


def fitted(x, label, strength, loss="logistic"):
    """`fit`, for any shape up to N, C with one compilation: padding must change nothing."""
    n, c = x.shape
    x = np.pad(x, ((0, N - n), (0, C - c)))
    x[n:] = 7.0
    label = np.pad(label, (0, N - n), constant_values=-1)
    w, b = FIT[loss](jnp.asarray(x), jnp.asarray(label), jnp.float32(strength))
    assert (w[c:] == 0).all()
    return np.asarray(w[:c], np.float64), float(b)


def cells(n, c, seed=0, noise=1.0):
    """Sparse positive features far from the origin, as fc7's, and labels that they nearly decide."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.standard_normal((n, c)), 0).astype(np.float32) * 3 + 1
    score = x[:, :3].sum(1) + noise * rng.standard_normal(n)
    return x, (score > np.quantile(score, 0.75)).astype(np.int32)


def objective(x, label, strength, loss):
    x, sign = x.astype(np.float64), 2.0 * label - 1

    def value_and_gradient(p):
        score = sign * (x @ p[:-1] + p[-1])
        if loss == "logistic":
            each, slope = np.logaddexp(0, -score), -sign / (1 + np.exp(score))
        else:
            short = np.maximum(1 - score, 0)
            each, slope = short**2, -2 * sign * short
        gradient = np.append(p[:-1] + strength * x.T @ slope, strength * slope.sum())
        return p[:-1] @ p[:-1] / 2 + strength * each.sum(), gradient

    return value_and_gradient


OPTIONS = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-14, "gtol": 1e-8}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("strength", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize(
    ("n", "c"), [(200, 8), *(pytest.param(n, 100, marks=pytest.mark.slow) for n in (40, 180))]
)
def test_fit_is_the_minimum(loss, strength, n, c):
    x, label = cells(n, c)
    ours = np.append(*fitted(x, label, strength, loss))
    function = objective(x, label, strength, loss)
    best = minimize(function, np.zeros(c + 1), jac=True, method="L-BFGS-B", options=OPTIONS)
    assert function(ours)[0] <= best.fun * (1 + 1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_equal_scikit_learn(loss):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x, label = cells(300, 20, seed=1, noise=3.0)
    if loss == "logistic":
        other = LogisticRegression(C=0.3, tol=1e-9, max_iter=10000)
    else:  # scikit-learn regularizes the bias of this one: a large scale makes that vanish
        other = LinearSVC(C=0.3, dual=False, tol=1e-10, max_iter=100000, intercept_scaling=1e3)
    expected = other.fit(x.astype(np.float64), label).decision_function(x.astype(np.float64))
    w, b = fitted(x, label, 0.3, loss)
    np.testing.assert_allclose(x @ w + b, expected, atol=2e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_class_alone_is_decided_without_a_fit(loss):
    x, _ = cells(30, 12)
    for value, bias in ((0, -1.0), (1, 1.0), (-1, -1.0)):
        w, b = fitted(x, np.full(30, value), 1.0, loss)
        assert (w == 0).all() and b == bias


def test_unknown_loss():
    with pytest.raises(ValueError, match="loss 'hinge': choose one of logistic, squared_hinge"):
        fit(jnp.zeros((2, 3)), jnp.array([0, 1]), 1.0, "hinge")


@pytest.mark.slow
def test_learns_the_support():
    rng = np.random.default_rng(0)
    image = rng.uniform(90, 140, (1, 2, 32, 32, 3))
    mask = np.zeros((1, 2, 32, 32), np.float32)
    mask[0, 0, 8:20, 4:24] = mask[0, 1, 16:, :12] = 1
    image[mask > 0] = (220, 40, 60)
    model = LinearClassifier(
        geometry="dilated4",
        blocks=((1, 16), (1, 32)),
        hidden=32,
        fc6_size=1,
        preprocessing="centered",
        strength=10.0,
    )
    image = jnp.asarray(image, jnp.float32)
    logits, _ = reference.compiled(model.init_with_output)(
        jax.random.key(0), image, jnp.asarray(mask), image
    )
    found = np.asarray(logits > 0)
    assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.9
