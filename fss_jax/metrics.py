"""Scores from exact integer counts, with bootstrap confidence intervals."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

BOOTSTRAP_DRAWS = 2000


def confusion(
    prediction: Bool[Array, "*b h w"], mask: Float[Array, "*b h w"], valid: Float[Array, "*b h w"]
) -> Int[Array, "*b 4"]:
    """Pixel counts (true positive, false positive, false negative, true negative) per image."""
    truth, counts = mask > 0, valid > 0
    cells = (
        prediction & truth,
        prediction & ~truth,
        ~prediction & truth,
        ~prediction & ~truth,
    )
    return jnp.stack([(cell & counts).sum((-2, -1), dtype=jnp.int32) for cell in cells], -1)


def iou(counts: np.ndarray) -> np.ndarray:
    """Object IoU [...] from counts [..., 4]; 0 where the union is empty (protocols.md A.10)."""
    tp, fp, fn = counts[..., 0], counts[..., 1], counts[..., 2]
    return tp / np.maximum(tp + fp + fn, 1)


def fb_iou(counts: np.ndarray) -> np.ndarray:
    """Mean of object and background IoU [...] from counts [..., 4] pooled over classes."""
    return (iou(counts) + iou(counts[..., ::-1])) / 2


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one predictor on one record list.

    Attributes:
      class_ids: [C], ascending.
      per_class: int64 [C, 4] pooled counts (tp, fp, fn, tn).
      episodes: [C], how many queries of each class.
      miou: mean over classes of the pooled IoU (protocols.md A.10).
      miou_ci95, fb_iou_ci95: percentile bootstrap over (class, query image) clusters.
      class_ci95: [C, 2].
    """

    class_ids: np.ndarray
    per_class: np.ndarray
    episodes: np.ndarray
    miou: float
    miou_ci95: tuple[float, float]
    fb_iou: float
    fb_iou_ci95: tuple[float, float]
    class_ci95: np.ndarray


def score(counts: np.ndarray, class_id: np.ndarray, image: np.ndarray, seed: int = 0) -> Scores:
    """Pools counts per class and resamples clusters for the intervals.

    Episodes that share class and query image are one cluster: they are not independent. Classes are
    fixed (they are the benchmark's), so clusters are resampled within their class.

    Args:
      counts: integers [N, 4] per query image.
      class_id: [N].
      image: [N] index of the query image.
      seed: of the bootstrap.
    """
    counts = counts.astype(np.int64)
    class_ids, row = np.unique(class_id, return_inverse=True)
    pooled = np.stack([counts[row == c].sum(0) for c in range(len(class_ids))])
    rng = np.random.default_rng(seed)
    draws = np.empty((BOOTSTRAP_DRAWS, len(class_ids), 4))
    for c in range(len(class_ids)):
        mine = row == c
        _, cluster = np.unique(image[mine], return_inverse=True)
        sums = np.zeros((cluster.max() + 1, 4), np.int64)
        np.add.at(sums, cluster, counts[mine])
        n = len(sums)
        draws[:, c] = rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAP_DRAWS) @ sums
    class_draws, fb_draws = iou(draws), fb_iou(draws.sum(1))
    low, high = np.percentile(class_draws.mean(1), [2.5, 97.5])
    fb_low, fb_high = np.percentile(fb_draws, [2.5, 97.5])
    return Scores(
        class_ids=class_ids,
        per_class=pooled,
        episodes=np.bincount(row),
        miou=float(iou(pooled).mean()),
        miou_ci95=(float(low), float(high)),
        fb_iou=float(fb_iou(pooled.sum(0))),
        fb_iou_ci95=(float(fb_low), float(fb_high)),
        class_ci95=np.percentile(class_draws, [2.5, 97.5], axis=0).T,
    )
