"""Evaluating a workdir: from its checkpoint to a result file, a table and a picture sheet."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from data_builders import text
from fss_jax.data import bank as banks
from fss_jax.data.records import Records, parse_records, records_sha256
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime.devices import is_lead, local_devices, replicate
from fss_jax.scoring import breakdown, evaluation, metrics
from fss_jax.scoring.metrics import Scores
from fss_jax.scoring.workdir import Opened, open_workdir

LISTED_CLASSES = 80  # more are in the JSON only


def evaluate(
    workdir: str | Path,
    *,
    protocol: str | None = None,
    shots: int | None = None,
    split: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    records_file: str | Path | None = None,
    items_file: str | Path | None = None,
    checkpoint: str = "best",
    episodes: int | None = None,
    trivial: bool = True,
    device_count: int = 0,
    canvas: int | None = None,
    config: ConfigDict | None = None,
    annotation: str = "mask",
    drop_rare_classes: bool = False,
) -> dict:
    """Scores a checkpoint and writes WORKDIR/results/PROTOCOL_Kshot[_ANNOTATION].{json,md,png}.

    A dataset or split other than the config's comes first in the files' names. With super-categories
    (FSS-1000) there is a bar chart of them, too: ..._super_categories.png.

    Arguments left out are the config's (see `fss evaluate --help` for their meaning).

    Returns:
      What the JSON file holds; fractions in 0..1.

    Raises:
      ValueError, FileNotFoundError: a checkpoint, dataset, protocol or list that is not there or
        does not fit; one line each.
    """
    opened = open_workdir(
        workdir,
        protocol=protocol,
        split=split,
        dataset=dataset,
        data_dir=data_dir,
        items_file=items_file,
        checkpoint=checkpoint,
        canvas=canvas,
        config=config,
        annotation=annotation,
        drop_rare_classes=drop_rare_classes,
    )
    config, chosen = opened.config, opened.protocol
    shots = shots or config.shots
    if records_file:
        records = parse_records(text.read(Path(records_file)), opened.data.items)
        shots = records.support.shape[1]
    else:
        opened = opened.with_images(shots + chosen.queries)
        records = chosen.records(opened.data, shots)
    data = opened.data
    records = records[: episodes or len(records)]

    devices = local_devices(device_count)
    evaluator = evaluation.Evaluator(
        opened.model,
        opened.view,
        devices,
        batch=config.eval_batch,
        with_trivial=trivial,
    )
    counts, seconds = evaluator.score(
        replicate(opened.variables, devices), data, config, records, progress="evaluate"
    )
    run_of = chosen.run_of(0 if records_file else len(records)).repeat(records.query.shape[1])
    scores = {
        name: metrics.score(
            *evaluation.flat_counts(c, records, data.item_image),
            chosen.metric,
            run=run_of if len(run_of) else None,
        )
        for name, c in counts.items()
    }
    result = {
        **opened.facts(),
        "shots": shots,
        "episodes": len(records),
        "records_sha256": records_sha256(records),
        **fields(scores.pop("method"), data.class_names),
        "trivial": {name: s.miou for name, s in scores.items()} or None,
        "trivial_ci95": {name: s.miou_ci95 for name, s in scores.items()} or None,
        **provenance(),
        "seconds": seconds,
        "episodes_per_second": len(records) / seconds,
    }
    suffix = "" if annotation == "mask" else f"_{annotation}"
    stem = opened.result(f"{chosen.name}_{shots}shot{suffix}")
    flat = evaluation.flat_counts(counts["method"], records, data.item_image)
    if chosen.metric == "per_image" or data.super_categories:
        result["shares"] = breakdown.image_shares(flat[0])
    if data.super_categories:
        table = breakdown.by_super_category(*flat, chosen.metric, data.super_categories)
        result["super_categories"] = table
        title = f"{config.method}, {opened.dataset}, {shots}-shot"
        if is_lead():
            breakdown.bar_chart(stem.with_name(f"{stem.name}_super_categories.png"), table, title)
    pages.write(
        stem,
        result,
        page(result),
        lambda path: _picture(path, evaluator, opened, records, counts["method"]),
    )
    return result


def fields(scores: Scores, class_names: tuple[str, ...]) -> dict:
    """What a result file says of scores."""
    return {
        "miou": scores.miou,
        "miou_ci95": list(scores.miou_ci95),
        "fb_iou": scores.fb_iou,
        "fb_iou_ci95": list(scores.fb_iou_ci95),
        "per_class": {
            class_names[class_id]: {
                "iou": float(scores.class_iou[c]),
                "ci95": scores.class_ci95[c].tolist(),
                **dict(zip(("tp", "fp", "fn"), scores.counts[c, :3].tolist(), strict=True)),
                "episodes": int(scores.episodes[c]),
            }
            for c, class_id in enumerate(scores.class_ids)
        },
    }


def _picture(path, evaluator, opened: Opened, records: Records, counts) -> None:
    """The best, median and worst episodes by IoU, at most three of each."""
    order = np.argsort(-metrics.iou(counts.sum(1)), kind="stable")
    each = min(3, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    picks = {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[-each:],
    }
    rows = np.concatenate(list(picks.values()))
    titles = [name for name, members in picks.items() for _ in members]
    shown = records[rows]
    images = np.unique(opened.data.item_image[np.concatenate([shown.support, shown.query], 1)])
    bank = banks.load_bank(opened.data, opened.config.canvas, images.tolist())
    evaluator.draw(path, opened.variables, bank, shown, opened.data, titles)


def page(result: dict) -> Page:
    """An evaluation's result, to read."""
    predictors = [(f"**{result['method']}**", result["miou"], result["miou_ci95"])]
    predictors += [
        (name.replace("_", " "), value, result["trivial_ci95"][name])
        for name, value in (result["trivial"] or {}).items()
    ]
    annotated = result.get("annotation", "mask")
    classes = result["per_class"]
    body = [
        Table(
            ("predictor", "mIoU %", "95% interval"),
            [(name, percent(value), interval(ci)) for name, value, ci in predictors],
        ),
        f"FB-IoU {percent(result['fb_iou'])} % ({interval(result['fb_iou_ci95'])}).",
    ]
    if len(classes) <= LISTED_CLASSES:
        rows = [
            (name, percent(entry["iou"]), interval(entry["ci95"]), entry["episodes"])
            for name, entry in classes.items()
        ]
        body.append(Table(("class", "IoU %", "95% interval", "episodes"), rows))
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}, {result['shots']}-shot, "
        f"protocol {result['protocol']}"
        + (f", annotated by {annotated}" if annotated != "mask" else ""),
        [*body, *breakdown.tables(result)],
    )
