"""Paints the examples of a split, in parallel processes where that pays.

A picture depends on the seed, its class and its number alone, never on who paints it.
"""

import concurrent.futures
import dataclasses
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
from PIL import Image

from data_builders.fss_glyphs import rendering

IMAGES_PER_CLASS = 10  # FSS 3
VARIED_AREA = (0.045, 0.45)  # of the picture, per object
FEW = 300  # pictures; below this, starting processes takes longer than they save


@dataclasses.dataclass(frozen=True)
class Painter:
    """Everything that the pictures of one split depend on.

    Attributes:
      fields: signed distance fields of the split's classes, float32 [n, side, side] (glyphs.py).
      first_id: the class id of the first of them; the others follow.
      size: pixels per side.
      cues: True: a class has a texture of its own. False: every object gets a random one, so that
        only its shape tells the class.
      seed: of the whole dataset.
      varied: objects of any size (VARIED_AREA) and muted colors, too.
    """

    fields: np.ndarray
    first_id: int
    size: int
    cues: bool
    seed: int
    varied: bool = False

    def picture(self, row: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture `number` (from 1) of class `first_id + row`.

        Returns:
          (uint8 [size, size, 3] image, bool [size, size] mask of the class's object).
        """
        # The number starts at 1: seeds (a, b) and (a, b, 0) would be the same stream.
        rng = np.random.default_rng((self.seed, self.first_id + row, number))
        others = [other for other in range(len(self.fields)) if other != row]
        count = min(len(others), rng.integers(1, 4))
        rows = [row, *rng.choice(others, count, replace=False)]
        return rendering.render(
            [self.fields[r] for r in rows],
            [self._texture(r, rng) for r in rows],
            self.size,
            rng,
            VARIED_AREA if self.varied else rendering.AREA,
        )

    def _texture(self, row: int, rng: np.random.Generator) -> rendering.Texture:
        if not self.cues:
            return rendering.class_texture(rng, muted=self.varied)
        own = np.random.default_rng((self.seed, self.first_id + row))
        return rendering.class_texture(own, muted=self.varied).jittered(rng)

    def class_pictures(self, row: int) -> list[tuple[bytes, np.ndarray]]:
        """All pictures of a class: (the image file's bytes, uint8 label map)."""
        pictures = []
        for number in range(1, IMAGES_PER_CLASS + 1):
            image, mask = self.picture(row, number)
            pictures.append((self._encode(image), mask.astype(np.uint8)))
        return pictures

    def _encode(self, image: np.ndarray) -> bytes:
        # Small pictures stay exact; large ones are photographs in FSS-1000 too.
        kind, options = (
            ("PNG", {"compress_level": 2}) if self.size < 128 else ("JPEG", {"quality": 92})
        )
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind, **options)
        return buffer.getvalue()

    def paint(self, workers: int | None = None) -> Iterator[list[tuple[bytes, np.ndarray]]]:
        """`class_pictures` of every class in order.

        Args:
          workers: processes; by default one per core that this process may use, or none at all
            (painting here) for a few pictures.
        """
        rows = range(len(self.fields))
        workers = workers or _cores()
        if workers == 1 or len(rows) * IMAGES_PER_CLASS < FEW:
            yield from map(self.class_pictures, rows)
            return
        # Spawned, not forked: the parent may run threads (JAX, tensorstore) that do not survive it.
        pool = concurrent.futures.ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _take, (self,)
        )
        try:
            yield from pool.map(_class_pictures, rows)
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """The cores that this process may use, where the system tells (not on macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _take(painter: Painter) -> None:
    global _painter
    _painter = painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops everything, with one message
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # a killed parent can not tell its workers to stop
    os._exit(1)


def _class_pictures(row: int) -> list[tuple[bytes, np.ndarray]]:
    return _painter.class_pictures(row)
