"""Scores from exact integer counts, with bootstrap confidence intervals."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

BOOTSTRAP_DRAWS = 2000


def confusion(
    prediction: Bool[Array | np.ndarray, "*b h w"],
    mask: Float[Array | np.ndarray, "*b h w"],
    valid: Float[Array | np.ndarray, "*b h w"],
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


def iou(counts: np.ndarray) -> np.ndarray | float:
    """Object IoU [...] from counts [..., 4]; 0 where the union is empty (protocols.md A.10)."""
    tp, fp, fn = counts[..., 0], counts[..., 1], counts[..., 2]
    return tp / np.maximum(tp + fp + fn, 1)


def fb_iou(counts: np.ndarray) -> np.ndarray | float:
    """Mean of object and background IoU [...] from counts [..., 4] pooled over classes."""
    return (iou(counts) + iou(counts[..., ::-1])) / 2


METRICS = ("pooled", "per_image")


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one predictor on one record list.

    Attributes:
      class_ids: [C], ascending.
      counts: int64 [C, 4] pooled counts (tp, fp, fn, tn).
      episodes: [C], how many queries of each class.
      class_iou, class_ci95: [C] and [C, 2].
      miou, miou_ci95: mean over classes, and its bootstrap over (class, image) clusters:
        percentiles of the draws, moved so that their mean is the estimate.
      fb_iou, fb_iou_ci95: of the counts pooled over classes.
    """

    class_ids: np.ndarray
    counts: np.ndarray
    episodes: np.ndarray
    class_iou: np.ndarray
    class_ci95: np.ndarray
    miou: float
    miou_ci95: tuple[float, float]
    fb_iou: float
    fb_iou_ci95: tuple[float, float]


def score(
    counts: np.ndarray,
    class_id: np.ndarray,
    image: np.ndarray,
    metric: str = "pooled",
    seed: int = 0,
    run: np.ndarray | None = None,
) -> Scores:
    """Scores each class and resamples clusters for the intervals.

    Episodes that share class and query image are one cluster: they are not independent. Classes are
    fixed (they are the benchmark's), so clusters are resampled within their class.

    Args:
      counts: integers [N, 4] per query image.
      class_id: [N].
      image: [N] index of the query image.
      metric: 'pooled' is the IoU of a class's summed counts (PASCAL-5i, protocols.md A.10);
        'per_image' the mean of its images' IoU (FSS-1000, B.5).
      seed: of the bootstrap.
      run: [N] which of several runs each belongs to; a class's score is the mean over the runs that
        have it (PANet). None: one run.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
    counts = counts.astype(np.int64)
    run = np.zeros(len(counts), int) if run is None else run
    runs = run.max() + 1
    # What is summed over a cluster: the counts, the images' IoUs, and how many there are.
    columns = np.concatenate([counts, iou(counts)[:, None], np.ones((len(counts), 1))], 1)

    def class_score(sums: np.ndarray) -> np.ndarray:
        """[..., run, 6] to [...]."""
        present = sums[..., 5] > 0
        each = iou(sums) if metric == "pooled" else sums[..., 4] / np.maximum(sums[..., 5], 1)
        return (each * present).sum(-1) / np.maximum(present.sum(-1), 1)

    class_ids, row = np.unique(class_id, return_inverse=True)
    rng = np.random.default_rng(seed)
    totals = np.empty((len(class_ids), runs, 6))
    draws = np.empty((BOOTSTRAP_DRAWS, len(class_ids), runs, 6))
    for c in range(len(class_ids)):
        mine = row == c
        _, cluster = np.unique(image[mine], return_inverse=True)
        n = cluster.max() + 1
        sums = np.zeros((n, runs, 6))
        np.add.at(sums, (cluster, run[mine]), columns[mine])
        totals[c] = sums.sum(0)
        drawn = rng.multinomial(n, np.full(n, 1 / n), BOOTSTRAP_DRAWS) @ sums.reshape(n, -1)
        draws[:, c] = drawn.reshape(-1, runs, 6)
    class_draws, fb_draws = class_score(draws), fb_iou(draws[..., :4].sum(1)).mean(-1)

    def interval(draws: np.ndarray, estimate: np.ndarray | np.floating) -> np.ndarray:
        # A ratio of few clusters is biased upwards under resampling: take the bias off.
        bounds = np.percentile(draws - draws.mean(0) + estimate, [2.5, 97.5], axis=0).T
        return np.clip(bounds, 0.0, 1.0)

    pooled = np.stack([counts[row == c].sum(0) for c in range(len(class_ids))])
    class_iou, pooled_fb = class_score(totals), fb_iou(totals[..., :4].sum(0)).mean()
    return Scores(
        class_ids=class_ids,
        counts=pooled,
        episodes=np.bincount(row),
        class_iou=class_iou,
        class_ci95=interval(class_draws, class_iou),
        miou=float(class_iou.mean()),
        miou_ci95=tuple(interval(class_draws.mean(1), class_iou.mean()).tolist()),
        fb_iou=float(pooled_fb),
        fb_iou_ci95=tuple(interval(fb_draws, pooled_fb).tolist()),
    )
