"""`evaluate.py --exhaustive`: every pair of a split as a result file, and what the support decides."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fss_jax import bank as banks
from fss_jax import evaluation, exhaustive, report
from fss_jax.episodes import Records
from fss_jax.exhaustive import ClassPairs
from fss_jax.metrics import iou
from fss_jax.runs import Run, open_run, provenance, provenance_line

LIST_EPISODES = 1000  # of the sampled lists that the result is compared with
SHOWN_CLASSES = 6


def evaluate(workdir: str | Path, **where: Any) -> dict:
    """Scores all pairs of a checkpoint's test items: WORKDIR/results/exhaustive_1shot.{json,md,png}.

    Args:
      where: as for `runs.open_run`; sizes, void and metric are the protocol's.

    Returns:
      What the JSON file holds; fractions in 0..1.

    Raises:
      ValueError: a class with a single image, or a model whose answers depend on the batch.
    """
    run = open_run(workdir, **where)
    check(run)
    bank = jax.device_put(banks.load_bank(run.data, run.config.canvas))
    before = time.perf_counter()
    pairs = exhaustive.score_pairs(run.model, run.variables, bank, run.data, run.geometry)
    seconds = time.perf_counter() - before
    metric = run.protocol.metric
    count = sum(len(p.items) * (len(p.items) - 1) for p in pairs)
    result = {
        **run.facts(),
        "shots": 1,
        "pairs": count,
        "metric": metric,
        "expected_miou": exhaustive.expected_miou(pairs, metric),
        "list_episodes": LIST_EPISODES,
        "list_range95": list(exhaustive.sampled_spread(pairs, LIST_EPISODES, metric=metric)),
        "per_class": {
            run.data.class_names[p.class_id]: {
                "iou": exhaustive.class_score(p, metric),
                "images": len(p.items),
                **dict(zip(("tp", "fp", "fn"), p.counts.sum((0, 1))[:3].tolist(), strict=True)),
                **_support_effect(p, run),
            }
            for p in pairs
        },
        **provenance(),
        "seconds": seconds,
        "pairs_per_second": count / seconds,
    }
    stem = run.result("exhaustive_1shot")
    report.write_json(stem.with_suffix(".json"), result)
    report.write_text(stem.with_suffix(".md"), table(result))
    _picture(stem.with_suffix(".png"), run, bank, pairs)
    return result


def check(run: Run) -> None:
    """Raises ValueError where pairs have no score of their own."""
    if run.config.model.get("batch_norm") == "batch":
        raise ValueError(
            "with batch_norm 'batch' an answer depends on the other images of the call, so pairs have "
            "no score of their own; evaluate a model trained with 'episode' or 'running'"
        )
    class_ids, counts = np.unique([c for _, c in run.data.items], return_counts=True)
    if (counts < 2).any():
        name = run.data.class_names[class_ids[counts < 2][0]]
        raise ValueError(f"class {name!r} of {run.data.name} has a single image: no pair; drop it")


def support_means(pairs: ClassPairs) -> np.ndarray:
    """[n]: for each image as the support, the mean IoU of the class's other images."""
    return iou(pairs.counts).sum(1) / (len(pairs.items) - 1)  # the diagonal's IoU is 0


def _support_effect(pairs: ClassPairs, run: Run) -> dict:
    means = support_means(pairs)
    return {
        f"{name}_support": {"image": run.data.items[pairs.items[i]][0], "mean_iou": float(means[i])}
        for name, i in (("best", means.argmax()), ("worst", means.argmin()))
    }


def _picture(path: Path, run: Run, bank: banks.Bank, pairs: list[ClassPairs]) -> None:
    """The best and worst support of the classes where it matters most (FSS-1000, Figure 9)."""
    gap = [np.ptp(support_means(p)) for p in pairs]
    class_ids, support, query, titles = [], [], [], []
    for i in np.argsort(gap, kind="stable")[::-1][:SHOWN_CLASSES]:
        p, means = pairs[i], support_means(pairs[i])
        best, worst = int(means.argmax()), int(means.argmin())
        difference = iou(p.counts[best]) - iou(p.counts[worst])
        if len(p.items) > 2:  # a query that is neither of the two
            difference[[best, worst]] = -np.inf
        for name, row in (("best support", best), ("worst support", worst)):
            class_ids.append(p.class_id)
            support.append([p.items[row]])
            query.append([p.items[int(difference.argmax())]])
            titles.append(f"{name}, mean IoU {means[row]:.3f}; here")
    records = Records(
        run.data.items, *(np.asarray(c, np.int32) for c in (class_ids, support, query))
    )
    evaluator = evaluation.Evaluator(
        run.model, run.geometry, jax.local_devices()[:1], batch=1, with_trivial=False
    )
    episode, logits = evaluator.show(run.variables, bank, records)
    report.contact_sheet(path, episode, logits, records, run.data, titles)


def table(result: dict) -> str:
    """The result as Markdown."""
    low, high = (100 * bound for bound in result["list_range95"])
    lines = [
        f"# {result['method']}, {result['dataset']} {result['split']}, every 1-shot pair, sizes and "
        f"metric of {result['protocol']}",
        "",
        f"Expected mIoU {100 * result['expected_miou']:.2f} % over {result['pairs']} pairs, without "
        f"sampling noise. A random list of {result['list_episodes']} episodes gives {low:.1f} to "
        f"{high:.1f} % in 95 of 100 cases.",
    ]
    if len(result["per_class"]) <= 80:
        lines += [
            "",
            "| class | IoU % | images | best support | mean IoU % | worst support | mean IoU % |",
            "| --- |" + " --- |" * 6,
        ]
        for name, entry in result["per_class"].items():
            cells = [f"{100 * entry['iou']:.1f}", str(entry["images"])]
            for which in ("best_support", "worst_support"):
                cells += [entry[which]["image"], f"{100 * entry[which]['mean_iou']:.1f}"]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Checkpoint step {result['checkpoint_step']}; {provenance_line(result)}; "
        f"{result['seconds']:.1f} s ({result['pairs_per_second']:.1f} pairs/s).",
        "",
        f"`{result['command']}`",
        "",
    ]
    return "\n".join(lines)
