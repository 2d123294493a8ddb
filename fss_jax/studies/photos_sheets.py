"""Pictures of `fss study photos`: what its best, median and worst masks look like."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fss_jax.reports import drawing


class Sheets:
    """The best, the median and the worst picture (`photos.Photo`) of each set, as PNGs."""

    def __init__(self):
        self._found: dict[tuple[str, int], list[tuple[float, Any, np.ndarray]]] = {}

    def add(self, shots: int, score: float, photo: Any, mask: np.ndarray) -> None:
        small = np.packbits(mask, 1)
        self._found.setdefault((photo.set, shots), []).append((score, photo, small))

    def write(self, folder: Path) -> None:
        for (name, shots), some in self._found.items():
            some.sort(key=lambda one: -one[0])
            rows = []
            for what, at in (("best", 0), ("median", len(some) // 2), ("worst", -1)):
                score, photo, packed = some[at]
                truth = photo.mask()
                mask = np.unpackbits(packed, 1, truth.shape[1]) > 0
                with Image.open(photo.image) as file:
                    image = np.asarray(file.convert("RGB"))
                title = f"{what}: {photo.folder.name}"
                rows.append(
                    [
                        (title, image),
                        ("truth", drawing.overlay(image, truth, drawing.TRUTH_COLOR)),
                        (
                            f"IoU {100 * score:.0f}",
                            drawing.overlay(image, mask, drawing.PREDICTION_COLOR),
                        ),
                    ]
                )
            drawing.panels(folder / f"{name}_{shots}.png", rows)
