"""From a network's confidence to the IoU to expect: a rising curve, fitted on validation classes."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import isotonic_regression

Floats = Sequence[float] | Float[np.ndarray, "n"]

BINS = 10
FILE = "calibration.json"


def confidence(
    mask: Bool[np.ndarray, "h w"],
    probability: Float[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """The IoU that a mask would have if the network's probabilities were true; 0 without a mask."""
    if valid is not None:
        mask, probability = mask & valid, np.where(valid, probability, 0)
    inside = float(probability.sum(where=mask, dtype=np.float64))
    union = float(mask.sum()) + float(probability.sum(where=~mask, dtype=np.float64))
    return inside / union if mask.any() else 0.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """A non-decreasing piecewise linear map of confidence (0..1) to expected IoU (0..1).

    Attributes:
      confidences: ascending.
      ious: as many; beyond the ends the curve is flat.
    """

    confidences: tuple[float, ...]
    ious: tuple[float, ...]

    @classmethod
    def fit(cls, confidences: Floats, ious: Floats) -> "Curve":
        """Isotonic regression (least squares among all rising curves), a knot per level.

        Args:
          confidences, ious: of the same images, each in 0..1.

        Raises:
          ValueError: no images.
        """
        if not len(confidences):
            raise ValueError("no images to calibrate on")
        order = np.argsort(confidences, kind="stable")
        x = np.asarray(confidences, np.float64)[order]
        levels = isotonic_regression(np.asarray(ious, np.float64)[order])
        starts = levels.blocks[:-1]
        # A level stands at the mean of its confidences: between levels the curve is straight.
        at = np.add.reduceat(x, starts) / np.diff(levels.blocks)
        at, kept = np.unique(at, return_index=True)
        return cls(tuple(at.tolist()), tuple(levels.x[starts][kept].tolist()))

    def __call__(self, confidence: float) -> float:
        return float(np.interp(confidence, self.confidences, self.ious))


def reliability(expected: Floats, ious: Floats, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean expectation, mean IoU, images) of each bin of equal width that has images."""
    expected, ious = np.asarray(expected, np.float64), np.asarray(ious, np.float64)
    place = np.minimum((expected * bins).astype(int), bins - 1)
    rows = []
    for b in range(bins):
        if (inside := place == b).any():
            rows.append(
                (float(expected[inside].mean()), float(ious[inside].mean()), int(inside.sum()))
            )
    return rows


def expected_calibration_error(expected: Floats, ious: Floats, bins: int = BINS) -> float:
    """ECE: the mean over images of |mean expectation - mean IoU| of their bin (Guo et al. 2017)."""
    rows = reliability(expected, ious, bins)
    return sum(n * abs(e - iou) for e, iou, n in rows) / sum(n for _, _, n in rows)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A checkpoint's curves, one for each number of supports that they were fitted with.

    Attributes:
      step: of the checkpoint that it belongs to.
      curves: by number of supports.
    """

    step: int
    curves: dict[int, Curve]

    def expected_iou(self, confidence: float, supports: int) -> float:
        """By the curve of the most supports that are no more than these, else of the fewest."""
        fitting = [k for k in self.curves if k <= supports]
        return self.curves[max(fitting) if fitting else min(self.curves)](confidence)

    def to_json(self) -> dict:
        curves = {str(k): dataclasses.asdict(curve) for k, curve in self.curves.items()}
        return {"checkpoint_step": self.step, "curves": curves}


def load(path: Path, step: int | None = None) -> Calibration | None:
    """Reads a calibration; None if there is no such file, or it is of another step.

    Raises:
      ValueError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        curves = {
            int(k): Curve(tuple(curve["confidences"]), tuple(curve["ious"]))
            for k, curve in content["curves"].items()
        }
        found = Calibration(int(content["checkpoint_step"]), curves)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); write it again: fss calibrate") from error
    return found if step is None or found.step == step else None
