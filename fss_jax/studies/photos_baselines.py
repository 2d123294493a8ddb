"""What a score of `fss study photos` is beside: answers without features, and one with an oracle."""

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fss_jax.data.bank import Episode
from fss_jax.scoring import trivial

SIDE = 256  # pixels that colors are counted at
ROUNDS = 5  # of GrabCut
ORACLE = "GrabCut from the true box (oracle)"


def names() -> list[str]:
    """Those that this installation can run: GrabCut needs OpenCV."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return ["everything object", "color histogram"]
    return ["everything object", "color histogram", ORACLE]


def masks(supports: Sequence, query, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Bool [h, w] by name, for a query (`photos.Photo`) of that true mask."""
    found = {
        "everything object": np.ones(truth.shape, bool),
        "color histogram": _histogram(supports, query, truth.shape),
    }
    if ORACLE in names():
        found[ORACLE] = _grabcut(query, truth)
    return found


def _small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


def _histogram(supports: Sequence, query, shape: tuple[int, int]) -> np.ndarray:
    image = np.stack([_small(photo.rgb()) for photo in supports])[None]
    mask = np.stack(
        [_small(Image.fromarray(photo.mask().astype(np.float32))) for photo in supports]
    )
    logits = _ratio(image, (mask[None] > 0.5) * np.float32(1), _small(query.rgb())[None, None])
    picture = Image.fromarray(np.asarray(logits)[0, 0])
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR)) > 0


@jax.jit
def _ratio(support_image: jax.Array, support_mask: jax.Array, query_image: jax.Array) -> jax.Array:
    nothing = jnp.zeros(query_image.shape[:-1])
    size = jnp.zeros((*query_image.shape[:2], 2), jnp.int32)
    episode = Episode(support_image, support_mask, query_image, nothing, nothing, size)
    return trivial.colour_histogram(episode)


def _grabcut(query, truth: np.ndarray) -> np.ndarray:
    """From the box around the true mask; what is outside is background."""
    import cv2

    rows, cols = (np.flatnonzero(truth.any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros(truth.shape, bool)
    box = (int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1)
    if box[2:] == truth.shape[::-1]:  # there is no background to learn from
        return np.ones(truth.shape, bool)
    cv2.setRNGSeed(zlib.crc32(str(query.image.name).encode()) % 2**31)
    state = np.zeros(truth.shape, np.uint8)
    models = (np.zeros((1, 65)), np.zeros((1, 65)))
    image = np.ascontiguousarray(np.asarray(query.rgb())[..., ::-1])
    try:
        cv2.grabCut(image, state, box, *models, ROUNDS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # too few pixels on a side
        state[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = cv2.GC_FGD
    return (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
