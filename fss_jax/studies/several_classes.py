"""Scoring a workdir on episodes of several classes: a result file, table and picture (see `ways`)."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fss_jax.data import bank as banks
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime.devices import AXIS, is_lead, local_devices, replicate
from fss_jax.scoring import evaluation, metrics
from fss_jax.scoring.results import fields
from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies.ways import draw, predictions, supports, truth
from fss_jax.studies.ways_picture import contact_sheet


def evaluate(
    workdir: str | Path,
    *,
    ways: int,
    protocol: str | None = None,
    shots: int | None = None,
    episodes: int | None = None,
    trivial: bool = True,
    device_count: int = 0,
    **opening: Any,
) -> dict:
    """Scores a checkpoint on C-way episodes; writes WORKDIR/results/PROTOCOL_Cway_Kshot.{json,md,png}.

    Sizes, void pixels and small objects are the protocol's; the list is `draw`'s, 1000 episodes under
    the protocol's seed. A class's IoU pools the pixels of all episodes that have it as a way.

    Args:
      opening: as of `workdir.open_workdir`.

    Returns:
      What the JSON file holds; fractions in 0..1. `binary_iou` is the mean of the IoU of object (any
      way) and background.

    Raises:
      ValueError, FileNotFoundError: as `results.evaluate`.
    """
    opened = open_workdir(workdir, protocol=protocol, **opening)
    config, data, view = opened.config, opened.data, opened.view
    shots = shots or config.shots
    records = draw(
        data.items, ways=ways, shots=shots, count=episodes or 1000, seed=opened.protocol.seed
    )
    devices = local_devices(device_count)

    def count(variables, bank, support, support_items, query, query_items):
        shown = supports(bank, view, support, support_items, query)
        query_image, wanted, valid, size = truth(bank, view, query, query_items)
        found = predictions(opened.model, variables, shown, query_image, size, view)
        each_valid = jnp.broadcast_to(valid[:, None], wanted.shape)
        way = jnp.arange(1, ways + 1)[None, :, None, None]
        return {
            name: jnp.concatenate(
                [
                    metrics.confusion(predicted[:, None] == way, wanted, each_valid),
                    metrics.confusion(predicted > 0, wanted.max(1), valid)[:, None],
                ],
                1,
            )
            for name, predicted in found.items()
            if trivial or name == "method"
        }

    bank = banks.load_bank(data, config.canvas)
    columns = (records.support, records.support_items, records.query[:, None], records.query_items)
    pmapped = jax.pmap(count, axis_name=AXIS, devices=devices)
    placed = replicate(opened.variables, devices), replicate(bank, devices)
    before = time.perf_counter()
    counts = evaluation.count_rows(
        lambda *rows: pmapped(*placed, *rows),
        columns,
        devices,
        max(1, config.eval_batch // ways),
        progress="evaluate",
    )
    seconds = time.perf_counter() - before
    image = np.repeat(data.item_image[records.query], ways)
    scored = {
        name: metrics.score(c[:, :ways].reshape(-1, 4), records.class_id.reshape(-1), image)
        for name, c in counts.items()
    }
    found = fields(scored.pop("method"), data.class_names)
    del found["fb_iou"], found["fb_iou_ci95"]  # of one class against the rest, summed over ways
    result = {
        **opened.facts(),
        "ways": ways,
        "shots": shots,
        "episodes": len(records),
        "records_sha256": records.sha256,
        **found,
        "binary_iou": float(metrics.fb_iou(counts["method"][:, ways].sum(0))),
        "trivial": {name: s.miou for name, s in scored.items()} or None,
        "trivial_ci95": {name: s.miou_ci95 for name, s in scored.items()} or None,
        **provenance(),
        "seconds": seconds,
        "episodes_per_second": len(records) / seconds,
    }
    suffix = "" if opened.annotation == "mask" else f"_{opened.annotation}"
    stem = opened.result(f"{opened.protocol.name}_{ways}way_{shots}shot{suffix}")
    if not is_lead():
        return result

    @jax.jit
    def show(variables, bank, support, support_items, query, query_items):
        shown = supports(bank, view, support, support_items, query)
        query_image, wanted, _, size = truth(bank, view, query, query_items)
        found = predictions(opened.model, variables, shown, query_image, size, view)
        return shown[0], shown[1], query_image, wanted, found["method"]

    order = np.argsort(-metrics.iou(counts["method"][:, :ways].sum(1)), kind="stable")
    rows = order[[0, len(order) // 2, -1]]
    names = [[data.class_names[c] for c in classes] for classes in records.class_id[rows]]
    pixels = show(opened.variables, bank, *(column[rows] for column in columns))
    pages.write(stem, result, page(result), lambda path: contact_sheet(path, *pixels, names))
    return result


def page(result: dict) -> Page:
    """A C-way result, to read."""
    rows = [(result["method"], result["miou"], result["miou_ci95"])]
    rows += [
        (name.replace("_", " "), value, result["trivial_ci95"][name])
        for name, value in (result["trivial"] or {}).items()
    ]
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}, {result['ways']}-way "
        f"{result['shots']}-shot, protocol {result['protocol']}",
        [
            Table(
                ("predictor", "mIoU %", "95% interval"),
                [(name, percent(value), interval(ci)) for name, value, ci in rows],
            ),
            f"Binary IoU (any class against the background) {percent(result['binary_iou'])} %.",
        ],
    )
