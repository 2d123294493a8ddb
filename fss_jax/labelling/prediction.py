"""What a segmenter says of one image: masks, probabilities, and how far to believe them."""

import dataclasses
from typing import NamedTuple

import numpy as np

from fss_jax.scoring import calibration
from fss_jax.scoring.calibration import Calibration

ONLY = "object"  # the name of a class that was given none


class Judgement(NamedTuple):
    """What a method says of its own mask of a class.

    Attributes:
      present: the probability that the image shows the class.
      expected_iou: of the mask, if it does.
    """

    present: float
    expected_iou: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was found in one image, at its original size, turned upright as its EXIF says.

    Attributes:
      masks: bool [H, W] of each class; classes may overlap.
      probabilities: float32 [H, W] of each class, in 0..1, as the network puts it out.
      supports: of each class, how many it was shown.
      calibration: of the checkpoint, if there is one.
      judged: what the method itself says of each class; empty for most methods.
    """

    masks: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    supports: dict[str, int] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None
    judged: dict[str, Judgement] = dataclasses.field(default_factory=dict)

    @property
    def mask(self) -> np.ndarray:
        """The mask of the only class; ValueError with several."""
        return self.masks[self._only()]

    @property
    def probability(self) -> np.ndarray:
        """The probability of the only class; ValueError with several."""
        return self.probabilities[self._only()]

    @property
    def label(self) -> np.ndarray:
        """uint8 [H, W]: 0 background, i for the i-th class; the most probable one where they overlap."""
        best = np.zeros(next(iter(self.masks.values())).shape, np.float32)
        label = np.zeros(best.shape, np.uint8)
        for i, (name, mask) in enumerate(self.masks.items(), 1):
            probability = self.probabilities[name]
            wins = mask & (probability > best)
            label[wins], best[wins] = i, probability[wins]
        return label

    def confidence(self, name: str = ONLY) -> float:
        """The IoU that a class's mask would have if its probabilities were true; 0 without a mask.

        They are not: networks are surer of themselves than right. The order of images is what counts.
        """
        return calibration.confidence(self.masks[name], self.probabilities[name])

    def present(self, name: str = ONLY) -> float | None:
        """The probability that the image shows the class; None if the method does not say.

        Where it is low the mask is empty.
        """
        return self.judged[name].present if name in self.judged else None

    def expected_iou(self, name: str = ONLY) -> float | None:
        """The IoU to expect of a mask, by the method itself or by the checkpoint's calibration.

        Of an empty mask it is the probability that nothing is there. None without either
        (`fss calibrate` makes a calibration). On images of another kind than those it was fitted to
        it is off: see docs/labelling.md.
        """
        if name in self.judged:
            present, expected = self.judged[name]
            return expected if self.masks[name].any() else 1 - present
        if self.calibration is None:
            return None
        return self.calibration.expected_iou(self.confidence(name), self.supports[name])

    def _only(self) -> str:
        if len(self.masks) > 1:
            raise ValueError(f"there are several classes: use masks[{next(iter(self.masks))!r}]")
        return next(iter(self.masks))
