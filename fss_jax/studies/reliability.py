"""What the fitted method says of its own masks: expected IoU and "not here", fitted and tested.

  fss study reliability --found docs/results/photos_fitted.json --out runs/reliability.json

The rows are of `fss study photos`. Each set is judged by regressions that were fitted to the
others; what is printed for `fss_jax.methods.heads.reliability` is fitted to all.
"""

import argparse
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import stats

from fss_jax.methods.heads import reliability
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments
from fss_jax.runtime.files import write_json
from fss_jax.scoring.calibration import expected_calibration_error
from fss_jax.studies import photos_scores

STRENGTH = 0.01  # of the ridge, the rows weighing 1 together


def fractional_logit(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n"],
    weight: Float[np.ndarray, "n"],
    strength: float = STRENGTH,
) -> Float[np.ndarray, "d1"]:
    """Weights, then the offset, of a logistic regression of y in 0..1 (Papke and Wooldridge 1996)."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    weight = weight / weight.sum()
    shrunk = np.append(np.full(x.shape[1] - 1, strength), 1e-6)
    found = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ found))
        slope = x.T @ (weight * (p - y)) + shrunk * found
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(shrunk)
        change = np.linalg.solve(curve, slope)
        found -= change / max(1.0, float(np.abs(change).max()))
    return found


def evenly(*groups: np.ndarray) -> Float[np.ndarray, "n"]:
    """Weights by which every combination of the groups counts alike, as sets do in the score."""
    _, index, count = np.unique(
        np.stack([np.unique(g, return_inverse=True)[1] for g in groups]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    return 1.0 / count[np.ravel(index)]


def numbers(rows: list[dict]) -> Float[np.ndarray, "n 5"]:
    """reliability.known of rows; with one support its agreement is its own, and told as even."""

    def column(name):
        return jnp.asarray([row[name] for row in rows], jnp.float32)

    told = reliability.Evidence(*(column(name) for name in reliability.Evidence._fields))
    single = jnp.asarray([row["shots"] == 1 for row in rows])
    agreement = jnp.where(single, 0.5, column("agreement"))
    return np.asarray(reliability.known(told, agreement, column("support_peak")), np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def held_out(x, y, sets, weight) -> Float[np.ndarray, "n"]:
    """Each row's answer by the regression on the other sets."""
    answer = np.zeros(len(y))
    for name in np.unique(sets):
        inside = sets == name
        w = fractional_logit(x[~inside], y[~inside], weight[~inside])
        answer[inside] = sigmoid(x[inside] @ w[:-1] + w[-1])
    return answer


def study(rows: list[dict]) -> dict:
    """Constants and their errors for the rows of one number of supports (or more than one)."""
    sets, kinds = np.array([r["set"] for r in rows]), np.array([r["kind"] for r in rows])
    x, here = numbers(rows), kinds == "present"
    ious = np.array([r.get("iou", 0.0) for r in rows])
    weight = evenly(sets[here])
    expected = held_out(x[here], ious[here], sets[here], weight)
    raw = np.array([r["confidence"] for r in rows])[here]
    by_set = {
        name: float(stats.spearmanr(expected[inside], ious[here][inside]).statistic)
        for name in np.unique(sets)
        if (inside := sets[here] == name).sum() > 3
    }
    both = evenly(sets, here)
    present = held_out(x, here.astype(float), sets, both)
    wrong = (present > 0.5) != here
    return {
        "expected_iou": {
            "constants": fractional_logit(x[here], ious[here], weight).round(3).tolist(),
            "rank_correlation": float(stats.spearmanr(expected, ious[here]).statistic),
            "rank_correlation_of_confidence": float(stats.spearmanr(raw, ious[here]).statistic),
            "rank_correlation_by_set": by_set,
            "calibration_error": expected_calibration_error(expected, ious[here]),
            "calibration_error_of_confidence": expected_calibration_error(raw, ious[here]),
            "pictures": int(here.sum()),
        },
        "present": {
            "constants": fractional_logit(x, here.astype(float), both).round(3).tolist(),
            "error": {
                kind: float(wrong[kinds == kind].mean()) for kind in np.unique(kinds).tolist()
            },
            "calibration_error": expected_calibration_error(present, here.astype(float)),
            "emptied": _emptied(rows, present, kinds),
            "pictures": {kind: int((kinds == kind).sum()) for kind in np.unique(kinds).tolist()},
        },
    }


def _emptied(rows: list[dict], present: np.ndarray, kinds: np.ndarray) -> dict:
    """What it costs and gains to empty the masks of pictures that seem not to show the class."""
    away = present < reliability.NOT_HERE
    kept = [
        r | {"iou": 0.0} if gone and r["kind"] == "present" else r
        for r, gone in zip(rows, away, strict=True)
    ]
    return {
        "below": reliability.NOT_HERE,
        "share": {kind: float(away[kinds == kind].mean()) for kind in np.unique(kinds).tolist()},
        "mean_iou": photos_scores.mean(rows)["mean"],
        "mean_iou_then": photos_scores.mean(kept)["mean"],
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--found", type=Path, required=True, help="JSON of `fss study photos`")
    arguments.add(parser, "--out", type=Path)


def run(given: argparse.Namespace) -> None:
    content = json.loads(given.found.read_text())
    if not content.get("rows"):
        raise ValueError(f"{given.found} holds no rows: expected what `fss study photos` writes")
    rows = content["rows"]
    if missing := set(reliability.Evidence._fields) - set.intersection(*map(set, rows)):
        raise ValueError(
            f"{given.found} lacks {', '.join(sorted(missing))}: an earlier version wrote it; "
            "run `fss study photos` again"
        )
    found = {
        name: study(some)
        for name, some in (
            ("one support", [r for r in rows if r["shots"] == 1]),
            ("more supports", [r for r in rows if r["shots"] > 1]),
        )
        if some
    }
    if given.out:
        write_json(given.out, found | provenance())
    print(json.dumps(found, indent=1))
