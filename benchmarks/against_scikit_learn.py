"""Our 1-NN and linear classifiers against scikit-learn's, on the same numbers and the same CPU.

python -m benchmarks.against_scikit_learn [--cells 1280] [--features 4096] [--out FILE.json]

The work is a 5-shot episode's: label the query's cells by those of the support, from features as fc7
has them (non-negative, sparse). scikit-learn runs with its own defaults on all cores, brute force for
1-NN, which is its fastest in so many dimensions. All are warmed up and take turns; the share of
equal answers and, for fits, the objective that each reached say whether the work was the same.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from fss_jax.experiments.timing import measure
from fss_jax.methods.logistic import fit
from fss_jax.methods.nearest import margin, nearest_distances
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import files

QUERY_CELLS = 324  # of 500 pixels through FCN-32s (protocols.md A.7)


def cells(count: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of cells, and labels of which a quarter is the object's: two overlapping kinds."""
    rng = np.random.default_rng(seed)
    label = (rng.uniform(size=count) < 0.25).astype(np.int32)
    kind = np.random.default_rng(0).standard_normal((2, features)) * 0.3 - 0.5
    x = np.maximum(kind[label] + rng.standard_normal((count, features)), 0.0)
    return x.astype(np.float32), label


def objective(w: np.ndarray, b: float, x: np.ndarray, label: np.ndarray, loss: str) -> float:
    """What both minimize, at strength 1, in float64."""
    score = (2.0 * label - 1) * (x.astype(np.float64) @ w.astype(np.float64) + b)
    if loss == "logistic":
        return float(w @ w / 2 + np.logaddexp(0, -score).sum())
    return float(w @ w / 2 + np.square(np.maximum(1 - score, 0)).sum())


def _fitting(loss: str, x: np.ndarray, label: np.ndarray, query: np.ndarray):
    """(ours, scikit-learn's): () -> (labels of the query, objective)."""

    @jax.jit
    def solve(x, label, query):
        w, b = fit(x, label, 1.0, loss)
        return w, b, query @ w + b > 0

    def ours():
        w, b, found = map(np.asarray, solve(x, label, query))
        return found, (w, float(b))

    def theirs():
        model = LogisticRegression() if loss == "logistic" else LinearSVC(dual="auto")
        model.fit(x, label)
        return model.predict(query) == 1, (model.coef_[0], float(model.intercept_[0]))

    return ours, theirs


def _nearest(x: np.ndarray, label: np.ndarray, query: np.ndarray):
    search = jax.jit(lambda q, s, of: margin(nearest_distances(q, s, of)) > 0)

    def theirs():
        model = KNeighborsClassifier(1, algorithm="brute", n_jobs=-1).fit(x, label)
        return model.predict(query) == 1, None

    return lambda: (np.asarray(search(query, x, label)), None), theirs


def compare(count: int, features: int, rounds: int) -> dict:
    """Seconds of every method, ours and scikit-learn's."""
    (x, label), (query, _) = cells(count, features, 1), cells(QUERY_CELLS, features, 2)
    pairs: dict[str, tuple[Callable, Callable]] = {"1-NN": _nearest(x, label, query)}
    pairs["LogReg"] = _fitting("logistic", x, label, query)
    pairs["SVM"] = _fitting("squared_hinge", x, label, query)
    losses = {"LogReg": "logistic", "SVM": "squared_hinge"}
    both = [call for pair in pairs.values() for call in pair]
    seconds = np.median(measure([lambda _, c=call: c() for call in both], rounds), axis=1)
    rows = []
    for i, (name, (ours, theirs)) in enumerate(pairs.items()):
        (found, model), (expected, other) = ours(), theirs()
        row = {"method": name, "ours": float(seconds[2 * i]), "theirs": float(seconds[2 * i + 1])}
        row["equal_answers"] = float((found == expected).mean())
        if name in losses:
            row["objective"] = objective(*model, x, label, losses[name])
            row["their_objective"] = objective(*other, x, label, losses[name])
        rows.append(row)
    return {"cells": count, "features": features, "rounds": rounds, "rows": rows, **provenance()}


def table(result: dict) -> str:
    lines = [
        f"{result['cells']} support cells, {QUERY_CELLS} query cells, {result['features']} features.",
        "",
        "| method | ours, s | scikit-learn, s | ratio | equal answers | objective, ours / theirs |",
        "| --- |" + " --- |" * 5,
    ]
    for row in result["rows"]:
        reached = ""
        if "objective" in row:
            reached = f"{row['objective']:.4g} / {row['their_objective']:.4g}"
        lines.append(
            f"| {row['method']} | {row['ours']:.4f} | {row['theirs']:.4f} | "
            f"{row['theirs'] / row['ours']:.1f} x | {row['equal_answers']:.1%} | {reached} |"
        )
    lines += ["", f"Median of {result['rounds']}; {provenance_line(result)}.", ""]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_scikit_learn")
    parser.add_argument("--cells", type=int, default=1280, help="of five supports at 500 pixels")
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    arguments = parser.parse_args(argv)
    result = compare(arguments.cells, arguments.features, arguments.rounds)
    if arguments.out:
        files.write_json(arguments.out, result)
    print(table(result))


if __name__ == "__main__":
    main()
