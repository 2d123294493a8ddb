"""Scores every (support, query) pair of a split: the expected 1-shot score, without sampling noise.

Both halves of a method factor, so each image is conditioned on once, and encoded once per CHUNK of
supports: `jax.vmap` over tasks leaves what depends on the query alone outside the batch.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fss_jax.bank import Bank
from fss_jax.datasets import Split
from fss_jax.evaluation import Geometry
from fss_jax.metrics import confusion, iou

CHUNK = 128  # most tasks that one query is compared with at a time
LISTS = 1000  # sampled record lists that show how far a list may stray


@dataclasses.dataclass(frozen=True)
class ClassPairs:
    """All ordered pairs of one class.

    Attributes:
      items: [n] item indices.
      counts: int64 [n supports, n queries, 4]; the diagonal (an image with itself) is zero.
    """

    class_id: int
    items: np.ndarray
    counts: np.ndarray


def score_pairs(
    model: nn.Module, variables: Any, bank: Bank, split: Split, geometry: Geometry
) -> list[ClassPairs]:
    """Confusion counts of every ordered pair of different items of a class.

    Args:
      bank: of the split, on one device.
      geometry: with a score size and void rule, as for sampled episodes.
    """

    @jax.jit
    def condition(variables, bank, items):
        episode = geometry.episode(bank, items[:, None], items[:, None])
        return model.apply(
            variables, episode.support_image, episode.support_mask, method="condition"
        )

    @jax.jit
    def compare(variables, bank, tasks, item):
        episode = geometry.episode(bank, item[None, None], item[None, None])

        def one(task):
            task = jax.tree.map(lambda leaf: leaf[None], task)
            return model.apply(variables, task, episode.query_image, method="segment")[0]

        logits = jax.vmap(one)(tasks)
        logits = geometry.to_score(logits, jnp.repeat(episode.query_size, len(logits), axis=0))
        truth = (
            jnp.broadcast_to(x, logits.shape) for x in (episode.query_mask, episode.query_valid)
        )
        return confusion(logits > 0, *truth)[:, 0]

    pairs = []
    class_of = np.asarray([class_id for _, class_id in split.items])
    total = sum(int(n) ** 2 for n in np.unique(class_of, return_counts=True)[1])
    with tqdm(total=total, desc="every pair", unit="pair") as bar:
        for class_id in np.unique(class_of):
            items = np.flatnonzero(class_of == class_id).astype(np.int32)
            counts = np.zeros((len(items), len(items), 4), np.int64)
            for start in range(0, len(items), CHUNK):
                rows = slice(start, start + CHUNK)
                tasks = condition(variables, bank, items[rows])
                for column, item in enumerate(items):
                    counts[rows, column] = np.asarray(compare(variables, bank, tasks, item))
                    bar.update(len(items[rows]))
            counts[np.arange(len(items)), np.arange(len(items))] = 0
            pairs.append(ClassPairs(int(class_id), items, counts))
    return pairs


def _score(counts: np.ndarray, metric: str) -> float:
    """The score of one class from the counts [N, 4] of its episodes (see `metrics.score`)."""
    return float(iou(counts.sum(0)) if metric == "pooled" else iou(counts).mean())


def class_score(pairs: ClassPairs, metric: str = "pooled") -> float:
    """The score of a class over all its pairs: what a list of episodes estimates."""
    apart = ~np.eye(len(pairs.items), dtype=bool)
    return _score(pairs.counts[apart], metric)


def expected_miou(pairs: list[ClassPairs], metric: str = "pooled") -> float:
    """Mean over classes of `class_score`."""
    return float(np.mean([class_score(p, metric) for p in pairs]))


def sampled_spread(
    pairs: list[ClassPairs], episodes: int, seed: int = 0, metric: str = "pooled"
) -> tuple[float, float]:
    """The 95% range of mIoU over random lists of that many episodes.

    Each list walks over all items without replacement and draws each support uniformly among the
    class's other items, as OSLSM's test list does (protocols.md A.8).
    """
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.full(len(p.items), c) for c, p in enumerate(pairs)])
    place = np.concatenate([np.arange(len(p.items)) for p in pairs])
    scores = []
    for _ in range(LISTS):
        walks = [rng.permutation(len(owner)) for _ in range(-(-episodes // len(owner)))]
        queries = np.concatenate(walks)[:episodes]
        ious = []
        for c, p in enumerate(pairs):
            columns = place[queries[owner[queries] == c]]
            if not len(columns):
                continue
            rows = rng.integers(len(p.items) - 1, size=len(columns))
            rows += rows >= columns  # any but the query itself
            ious.append(_score(p.counts[rows, columns], metric))
        scores.append(np.mean(ious))
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
