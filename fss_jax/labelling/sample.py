"""Rendered pictures of a thing, for who has none of their own at hand: they need no network."""

from collections.abc import Iterator

import numpy as np

from data_builders.fss_glyphs import glyphs
from data_builders.fss_glyphs.painting import Painter

CLASSES, SIZE = 4, 384  # things that pictures show beside each other, pixels a side
EXAMPLES, PICTURES = 2, 8


def pictures() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures of one thing, uint8 [SIZE, SIZE, 3], each with its mask: EXAMPLES + PICTURES of them."""
    fields = glyphs.silhouettes(glyphs.load_classes()[:CLASSES])
    painter = Painter(fields, first_id=1, size=SIZE, cues=True, seed=0)
    for number in range(1, EXAMPLES + PICTURES + 1):
        yield painter.picture(0, number)
