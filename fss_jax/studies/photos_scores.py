"""Scores of `fss study photos`: of one mask, and their means over pictures, classes and sets."""

import numpy as np
from scipy import ndimage

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


def tables(rows: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """`mean` of IoU and of boundary IoU by the number of supports.

    'common' is that of IoU over the classes that have pictures enough for each of these numbers.
    """
    shots = sorted({row["shots"] for row in rows}, reverse=True)
    result = {
        what: {str(k): mean([row for row in rows if row["shots"] == k], what) for k in shots}
        for what in ("iou", "boundary_iou")
    }
    classes = [{(r["set"], r["class"]) for r in rows if r["shots"] == k} for k in shots]
    common = set.intersection(*classes)
    if common != set.union(*classes):
        shared = [row for row in rows if (row["set"], row["class"]) in common]
        result["common"] = {str(k): mean([r for r in shared if r["shots"] == k]) for k in shots}
    beside = sorted({name for row in rows for name in row.get("beside", ())})
    if beside:
        result["beside"] = {
            name: {
                str(k): mean(
                    [r | r["beside"] for r in rows if r["shots"] == k and "beside" in r], name
                )
                for k in shots
            }
            for name in beside
        }
    return result
