"""Scores every query with every support of its class: the expected score, without sampling noise.

Both halves of a method factor, so each image is conditioned on once, and encoded once per CHUNK of
supports: `jax.vmap` over tasks leaves what depends on the query alone outside the batch. With several
shots every set of K supports is scored, where a class has few images: FSS-1000's ten give 126 sets of
five a query. A method's `merge` makes their tasks of one-shot tasks.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fss_jax.data.bank import Bank
from fss_jax.data.datasets import Split
from fss_jax.data.view import View
from fss_jax.runtime.devices import is_lead, local_devices, sum_over_processes
from fss_jax.scoring.metrics import confusion, iou

CHUNK = 128  # most tasks that one query is compared with at a time
MOST_SETS = (
    2000  # supports or sets of them that a query is compared with, if there are several shots
)
LISTS = 1000  # sampled record lists that show how far a list may stray


@dataclasses.dataclass(frozen=True)
class ClassPairs:
    """Every query of one class with every support, or set of K supports, among its other images.

    Attributes:
      items: [n] item indices.
      members: [n queries, S, K] positions in `items` of each support set.
      counts: int64 [n queries, S, 4] confusion counts.
    """

    class_id: int
    items: np.ndarray
    members: np.ndarray
    counts: np.ndarray


def support_sets(count: int, shots: int) -> np.ndarray:
    """[count queries, S, K]: all sets of K of the `count` - 1 others, ascending."""
    sets = np.asarray(list(itertools.combinations(range(count - 1), shots)), np.int32)
    query = np.arange(count)[:, None, None]
    return (sets + (sets >= query)).astype(
        np.int32
    )  # numbers from the query's on are those after it


def score_pairs(
    model: nn.Module,
    variables: Any,
    bank: Bank,
    split: Split,
    view: View,
    shots: int = 1,
    devices: Sequence[jax.Device] = (),
) -> list[ClassPairs]:
    """Confusion counts of every query and support set of different items of a class.

    The queries of a class are dealt to the processes, and within each to its devices; all processes
    know all counts in the end.

    Args:
      bank: of the split.
      view: with a score size and void rule, as for sampled episodes.
      shots: more than one needs a method that has `merge`.
      devices: of this process; the first, if none is given.
    """

    @jax.jit
    def condition(variables, bank, items):
        episode = view.episode(bank, items[:, None], items[:, None])
        return model.apply(
            variables, episode.support_image, episode.support_mask, method="condition"
        )

    @jax.jit
    def compare(variables, bank, tasks, members, item):
        if shots == 1:
            tasks = jax.tree.map(lambda leaf: leaf[members[:, 0]], tasks)
        else:
            tasks = jax.tree.map(lambda leaf: leaf[members], tasks)
            tasks = model.apply(variables, tasks, method="merge")
        episode = view.episode(bank, item[None, None], item[None, None])

        def one(task):
            task = jax.tree.map(lambda leaf: leaf[None], task)
            return model.apply(variables, task, episode.query_image, method="segment")[0]

        logits = jax.vmap(one)(tasks)
        logits = view.to_score(logits, jnp.repeat(episode.query_size, len(logits), axis=0))
        truth = (
            jnp.broadcast_to(x, logits.shape) for x in (episode.query_mask, episode.query_valid)
        )
        return confusion(logits > 0, *truth)[:, 0]

    devices = list(devices) or local_devices()[:1]
    placed = [jax.device_put((variables, bank), device) for device in devices]
    class_of = np.asarray([class_id for _, class_id in split.items])
    classes = [np.flatnonzero(class_of == c).astype(np.int32) for c in np.unique(class_of)]
    total = sum(len(items) * math.comb(len(items) - 1, shots) for items in classes)
    pairs = []
    title = "every pair" if shots == 1 else "every set"
    with tqdm(total=total, desc=title, unit="pair", disable=not is_lead()) as bar:
        for items in classes:
            chunks = [items[i : i + CHUNK] for i in range(0, len(items), CHUNK)]
            tasks = [condition(*placed[0], chunk) for chunk in chunks]
            tasks = jax.tree.map(lambda *parts: jnp.concatenate(parts), *tasks)
            known = [jax.device_put(tasks, device) for device in devices]
            members = support_sets(len(items), shots)
            counts = np.zeros((*members.shape[:2], 4), np.int64)
            waiting = collections.deque()  # a call for each device, and one that it goes on with

            def collect(waiting=waiting, counts=counts):
                query, start, found = waiting.popleft()
                counts[query, start : start + len(found)] = np.asarray(found)
                bar.update(len(found) * jax.process_count())

            mine = range(jax.process_index(), len(items), jax.process_count())
            calls = itertools.product(mine, range(0, members.shape[1], CHUNK))
            for number, (query, start) in enumerate(calls):
                turn = number % len(devices)
                some = members[query, start : start + CHUNK]
                found = compare(*placed[turn], known[turn], some, items[query])
                waiting.append((query, start, found))
                if len(waiting) > 2 * len(devices):
                    collect()
            while waiting:
                collect()
            counts = sum_over_processes(counts)
            pairs.append(ClassPairs(int(class_of[items[0]]), items, members, counts))
    return pairs


def _score(counts: np.ndarray, metric: str) -> float:
    """The score of one class from the counts [N, 4] of its episodes (see `metrics.score`)."""
    return float(iou(counts.sum(0)) if metric == "pooled" else iou(counts).mean())


def class_score(pairs: ClassPairs, metric: str = "pooled") -> float:
    """The score of a class over all its pairs: what a list of episodes estimates."""
    return _score(pairs.counts.reshape(-1, 4), metric)


def expected_miou(pairs: list[ClassPairs], metric: str = "pooled") -> float:
    """Mean over classes of `class_score`."""
    return float(np.mean([class_score(p, metric) for p in pairs]))


def sampled_spread(
    pairs: list[ClassPairs], episodes: int, seed: int = 0, metric: str = "pooled"
) -> tuple[float, float]:
    """The 95% range of mIoU over random lists of that many episodes.

    Each list walks over all items without replacement and draws each support set uniformly among those
    of the class's other items, as OSLSM's test list does (protocols.md A.8).
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
            rows = place[queries[owner[queries] == c]]
            if len(rows):
                drawn = rng.integers(p.counts.shape[1], size=len(rows))
                ious.append(_score(p.counts[rows, drawn], metric))
        scores.append(np.mean(ious))
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
