"""Scores of `fss study photos`: of one mask, and their means over pictures, classes and sets."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

SIZES = (0.02, 0.05, 0.2)  # of a picture: where its object belongs to the next larger kind
BAND = 0.02  # of the diagonal: the width of what boundary IoU compares (Cheng et al. 2021)


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    union = (found | truth).sum()
    return float((found & truth).sum() / union) if union else 1.0


def boundary_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the bands inside both outlines, as wide as BAND of the diagonal (at least a pixel)."""
    width = max(1, round(BAND * float(np.hypot(*truth.shape))))

    def band(mask):
        inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        return mask & (inside <= width)

    return iou(band(found), band(truth))


def mean(rows: list[dict], what: str = "iou") -> dict[str, float]:
    """By set, and their mean, of pictures that show the class: over images, then classes."""
    classes: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["kind"] == "present":
            classes.setdefault(row["set"], {}).setdefault(row["class"], []).append(row[what])
    sets = {
        name: float(np.mean([np.mean(v) for v in of.values()]))
        for name, of in sorted(classes.items())
    }
    return sets | {"mean": float(np.mean(list(sets.values())))}


def by_size(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Mean IoU over pictures, and how many, by the object's share of the picture."""
    shown = [row for row in rows if row["kind"] == "present"]
    place = np.searchsorted(SIZES, [row["share"] for row in shown], side="right")
    edges = [f"{100 * size:g}%" for size in SIZES]
    names = [f"below {edges[0]}", *map("{} to {}".format, edges, edges[1:]), f"above {edges[-1]}"]
    found = {}
    for n, name in enumerate(names):
        some = [row["iou"] for row, at in zip(shown, place, strict=True) if at == n]
        if some:
            found[name] = {"iou": float(np.mean(some)), "pictures": len(some)}
    return found


def said_absent(rows: list[dict]) -> dict[str, float]:
    """The share of masks that the method empties: of pictures with the class and of those without."""
    kinds = sorted({row["kind"] for row in rows})
    return {
        kind: float(np.mean([not row["found"] for row in rows if row["kind"] == kind]))
        for kind in kinds
    }


def seconds(rows: list[dict]) -> dict[str, float]:
    """Medians: a picture's features, where computed; its mask and what speaks for it; a fit."""
    keys = {what: f"{what}_seconds" for what in ("features", "mask", "fit")}
    columns = {what: [row[key] for row in rows if key in row] for what, key in keys.items()}
    return {what: float(np.median(values)) for what, values in columns.items() if values}


def tables(rows: list[dict]) -> dict[str, dict[str, dict[str, Any]]]:
    """By the number of supports: `mean` of IoU and of boundary IoU, `by_size`, `said_absent`, `seconds`.

    'common' is the IoU over the classes that have pictures enough for each of these numbers.
    """
    shots = sorted({row["shots"] for row in rows}, reverse=True)
    by_shots = {str(k): [row for row in rows if row["shots"] == k] for k in shots}

    def each(score: Callable, *what: str) -> dict[str, Any]:
        return {k: score(some, *what) for k, some in by_shots.items()}

    result = {what: each(mean, what) for what in ("iou", "boundary_iou")}
    result |= {of.__name__: each(of) for of in (by_size, said_absent, seconds)}
    classes = [{(row["set"], row["class"]) for row in some} for some in by_shots.values()]
    common = set.intersection(*classes)
    if common != set.union(*classes):
        result["common"] = each(
            lambda some: mean([row for row in some if (row["set"], row["class"]) in common])
        )
    beside = sorted({name for row in rows for name in row.get("beside", ())})
    if beside:
        result["beside"] = {
            name: each(
                lambda some, n: mean([r | r["beside"] for r in some if "beside" in r], n), name
            )
            for name in beside
        }
    return result
