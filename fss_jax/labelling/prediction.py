"""What a segmenter says of one image: masks, probabilities, and how far to believe them."""

import dataclasses

import numpy as np

from fss_jax.scoring import calibration
from fss_jax.scoring.calibration import Calibration

ONLY = "object"  # the name of a class that was given none


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was found in one image, at its original size, turned upright as its EXIF says.

    Attributes:
      masks: bool [H, W] of each class; classes may overlap.
      probabilities: float32 [H, W] of each class, in 0..1, as the network puts it out.
      supports: of each class, how many it was shown.
      calibration: of the checkpoint, if there is one.
    """

    masks: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    supports: dict[str, int] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None

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

    def expected_iou(self, name: str = ONLY) -> float | None:
        """The IoU that masks of this confidence had on the checkpoint's validation classes.

        None without a calibration (`fss calibrate` makes one). On images of another kind than
        those it is off: see docs/labelling.md.
        """
        if self.calibration is None:
            return None
        return self.calibration.expected_iou(self.confidence(name), self.supports[name])

    def _only(self) -> str:
        if len(self.masks) > 1:
            raise ValueError(f"there are several classes: use masks[{next(iter(self.masks))!r}]")
        return next(iter(self.masks))
