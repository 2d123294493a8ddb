"""`fss evaluate --exhaustive`: every pair of a split as a result file, and what the support decides."""

import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fss_jax import methods
from fss_jax.data import bank as banks
from fss_jax.data.records import Records
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime.devices import local_devices
from fss_jax.scoring import evaluation, exhaustive
from fss_jax.scoring.exhaustive import ClassPairs
from fss_jax.scoring.metrics import iou
from fss_jax.scoring.workdir import Opened, open_workdir

LIST_EPISODES = 1000  # of the sampled lists that the result is compared with
SHOWN_CLASSES = 6
LISTED_CLASSES = 80  # more are in the JSON only


def evaluate(
    workdir: str | Path, shots: int | None = None, *, device_count: int = 0, **where: Any
) -> dict:
    """Scores all pairs of a checkpoint's test items: WORKDIR/results/exhaustive_Kshot.{json,md,png}.

    Args:
      shots: default 1; with more, every set of so many supports is scored.
      device_count: of each process; 0 = all.
      where: as for `workdir.open_workdir`; sizes, void and metric are the protocol's.

    Returns:
      What the JSON file holds; fractions in 0..1.

    Raises:
      ValueError: a class with too few images, or too many for several shots; a model whose answers
        depend on the batch.
    """
    shots = shots or 1
    opened = open_workdir(workdir, **where).with_images(shots + 1)
    check(opened, shots)
    bank = banks.load_bank(opened.data, opened.config.canvas)
    devices = local_devices(device_count)
    before = time.perf_counter()
    pairs = exhaustive.score_pairs(
        opened.model, opened.variables, bank, opened.data, opened.view, shots, devices
    )
    seconds = time.perf_counter() - before
    metric = opened.protocol.metric
    count = sum(p.counts.shape[0] * p.counts.shape[1] for p in pairs)
    result = {
        **opened.facts(),
        "shots": shots,
        "pairs": count,
        "metric": metric,
        "expected_miou": exhaustive.expected_miou(pairs, metric),
        "list_episodes": LIST_EPISODES,
        "list_range95": list(exhaustive.sampled_spread(pairs, LIST_EPISODES, metric=metric)),
        "per_class": {
            opened.data.class_names[p.class_id]: {
                "iou": exhaustive.class_score(p, metric),
                "images": len(p.items),
                **dict(zip(("tp", "fp", "fn"), p.counts.sum((0, 1))[:3].tolist(), strict=True)),
                **_support_effect(p, opened),
            }
            for p in pairs
        },
        **provenance(),
        "seconds": seconds,
        "pairs_per_second": count / seconds,
    }
    pages.write(
        opened.result(f"exhaustive_{shots}shot"),
        result,
        page(result),
        lambda path: _picture(path, opened, bank, pairs),
    )
    return result


def check(opened: Opened, shots: int = 1) -> None:
    """Raises ValueError where pairs have no score of their own, or cannot all be scored."""
    statistics = opened.model.normalized_together
    if statistics == "batch":
        raise ValueError(
            "with batch_norm 'batch' an answer depends on the other images of the call, so pairs have "
            "no score of their own; evaluate a model trained with 'episode' or 'running'"
        )
    if shots > 1 and opened.model.merge is None:
        able = [n for n in methods.names() if methods.get(n).merge is not None]
        raise ValueError(
            f"--exhaustive with {shots} shots needs a method whose task is made of its one-shot tasks "
            f"({', '.join(able)}), not {opened.config.method}; score 1 shot or a list of episodes"
        )
    if shots > 1 and statistics == "episode":
        raise ValueError(
            "with batch_norm 'episode' the supports of an episode are normalized together, so that no "
            "image has a task of its own; evaluate a model trained with 'running'"
        )
    class_ids, counts = np.unique([c for _, c in opened.data.items], return_counts=True)
    few, many = class_ids[counts.argmin()], class_ids[counts.argmax()]
    if counts.min() <= shots:
        raise ValueError(
            f"class {opened.data.class_names[few]!r} of {opened.data.name} has {counts.min()} images, a "
            f"{shots}-shot pair needs {shots + 1}; leave such classes out with --drop_rare_classes"
        )
    sets = math.comb(int(counts.max()) - 1, shots)
    if shots > 1 and sets > exhaustive.MOST_SETS:
        raise ValueError(
            f"class {opened.data.class_names[many]!r} of {opened.data.name} has {counts.max()} images: "
            f"{sets} sets of {shots} supports for each query, over {exhaustive.MOST_SETS}; score a list "
            "of episodes"
        )


def support_means(pairs: ClassPairs) -> dict[tuple[int, ...], float]:
    """For each support, or set of them, the mean IoU of the class's other images."""
    found: dict[tuple[int, ...], list[float]] = {}
    for members, row in zip(pairs.members, iou(pairs.counts), strict=True):
        for support, value in zip(members.tolist(), row.tolist(), strict=True):
            found.setdefault(tuple(support), []).append(value)
    return {support: float(np.mean(values)) for support, values in sorted(found.items())}


def _extremes(pairs: ClassPairs) -> dict[str, tuple[tuple[int, ...], float]]:
    """The best and the worst support with its mean IoU."""
    means = support_means(pairs)
    order = sorted(means, key=means.get)
    return {"best": (order[-1], means[order[-1]]), "worst": (order[0], means[order[0]])}


def _support_effect(pairs: ClassPairs, opened: Opened) -> dict:
    return {
        f"{name}_support": {
            "image": ", ".join(opened.data.items[pairs.items[i]][0] for i in support),
            "mean_iou": mean,
        }
        for name, (support, mean) in _extremes(pairs).items()
    }


def _picture(path: Path, opened: Opened, bank: banks.Bank, pairs: list[ClassPairs]) -> None:
    """The best and worst support of the classes where it matters most (FSS-1000, Figure 9)."""
    extremes = [_extremes(p) for p in pairs]
    gap = [found["best"][1] - found["worst"][1] for found in extremes]
    class_ids, support, query, titles = [], [], [], []
    for i in np.argsort(gap, kind="stable")[::-1][:SHOWN_CLASSES]:
        p, found = pairs[i], extremes[i]
        difference = _iou_by_query(p, found["best"][0]) - _iou_by_query(p, found["worst"][0])
        # A query that is in neither of the two, if there is one.
        shown = int(np.nan_to_num(difference, nan=-np.inf).argmax())
        for name, (members, mean) in found.items():
            class_ids.append(p.class_id)
            support.append(p.items[list(members)])
            query.append([p.items[shown]])
            titles.append(f"{name} support, mean IoU {mean:.3f}; here")
    records = Records(
        opened.data.items, *(np.asarray(c, np.int32) for c in (class_ids, support, query))
    )
    evaluator = evaluation.Evaluator(
        opened.model, opened.view, jax.local_devices()[:1], batch=1, with_trivial=False
    )
    evaluator.draw(path, opened.variables, bank, records, opened.data, titles)


def _iou_by_query(pairs: ClassPairs, support: tuple[int, ...]) -> np.ndarray:
    """[n]: the IoU of each query with this support; NaN where it is part of it."""
    chosen = (pairs.members == np.asarray(support)).all(-1)  # [n, S], at most one a row
    values = np.where(chosen, iou(pairs.counts), 0.0).sum(1)
    return np.where(chosen.any(1), values, np.nan)


def page(result: dict) -> Page:
    """The result, to read."""
    body = [
        f"Expected mIoU {percent(result['expected_miou'], 2)} % over {result['pairs']} pairs, without "
        f"sampling noise. A random list of {result['list_episodes']} episodes gives "
        f"{interval(result['list_range95'])} % in 95 of 100 cases. {result['pairs_per_second']:.1f} "
        "pairs/s."
    ]
    if len(result["per_class"]) <= LISTED_CLASSES:
        head = (
            "class",
            "IoU %",
            "images",
            *("best support", "mean IoU %"),
            *("worst support", "mean IoU %"),
        )
        body.append(Table(head, [_row(name, entry) for name, entry in result["per_class"].items()]))
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}, every {result['shots']}-shot "
        f"pair, sizes and metric of {result['protocol']}",
        body,
    )


def _row(name: str, entry: dict) -> list[object]:
    cells = [name, percent(entry["iou"]), entry["images"]]
    for which in ("best_support", "worst_support"):
        cells += [entry[which]["image"], percent(entry[which]["mean_iou"])]
    return cells
