"""Corrects answers with clicks, as a person would.

  fss study clicks --workdir runs/guided --clicks 5 --annotation points

Each query is segmented from its support; then a click is put into the middle of the largest region
that is wrong (the dataset's labels stand in for the person), what the query now says of itself joins
the support's guidance, and it is segmented again. Some methods update what they know; others that
take sparse annotation take the query as one more support. All is scored at the size that the method
sees. Writes WORKDIR/results/clicks_PROTOCOL_Kshot.json, .md and .png.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from tqdm import tqdm

from fss_jax import methods
from fss_jax.data import bank as banks
from fss_jax.data import weak_annotation
from fss_jax.data.bank import Episode
from fss_jax.data.records import Records, records_sha256
from fss_jax.reports import drawing
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments, messages
from fss_jax.scoring import metrics
from fss_jax.scoring.workdir import Opened, open_workdir

SHOWN = 6
OPENING = ("--dataset", "--split", "--data_dir", "--protocol", "--checkpoint", "--annotation")
DOTS = {1: (0, 255, 0), 0: (0, 255, 255)}  # the color of a click on the object, and beside it


def next_click(prediction: np.ndarray, truth: np.ndarray) -> tuple[int, int] | None:
    """The pixel deepest inside the largest connected region where two masks (bool [H, W]) differ."""
    regions, count = scipy.ndimage.label(prediction != truth)
    if not count:
        return None
    largest = regions == 1 + np.argmax(np.bincount(regions.ravel())[1:])
    depth = scipy.ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(col)


def steps(opened: Opened) -> tuple[Callable, Callable]:
    """(cut and segment a batch of records, segment it again with clicks on its queries); compiled.

    Raises:
      ValueError: a method that takes no sparse annotation; one without update that sees supports and
        queries at different sizes.
    """
    model = opened.model
    if not model.takes_undecided:
        raise ValueError(
            f"{opened.config.method} takes whole masks only, no clicks; use one of "
            f"{', '.join(methods.taking_undecided())}"
        )
    view = opened.view
    updates = model.update is not None
    if not updates and view.support_size != view.query_size:
        raise ValueError(
            f"supports of {view.support_size} and queries of {view.query_size} pixels: a "
            "clicked query joins the support; train with one size"
        )
    view = dataclasses.replace(view, score_size=view.query_size)

    @jax.jit
    def first(variables, bank, support, query):
        episode = view.episode(bank, support, query)
        given = (episode.support_image, episode.support_mask)
        task = model.apply(variables, *given, method="condition")
        return episode, task, model.apply(variables, task, episode.query_image, method="segment")

    @jax.jit
    def again(variables, episode, task, clicks):
        if updates:
            task = model.apply(variables, task, episode.query_image, clicks, method="update")
        else:
            images = jnp.concatenate([episode.support_image, episode.query_image], 1)
            masks = jnp.concatenate([episode.support_mask, clicks], 1)
            task = model.apply(variables, images, masks, method="condition")
        return model.apply(variables, task, episode.query_image, method="segment")

    return first, again


def interact(opened: Opened, records: Records, clicks: int) -> tuple[np.ndarray, list]:
    """Segments every record's query with 0 to `clicks` clicks.

    Args:
      records: of one query each.

    Returns:
      Counts [N, 1 + clicks, 4]; and of the first records (episode, clicks' annotation, answers by
      number of clicks) to look at.
    """
    first, again = steps(opened)
    bank, variables = jax.device_put(
        (banks.load_bank(opened.data, opened.config.canvas), opened.variables)
    )
    counts, shown = [], []
    for i in tqdm(range(len(records)), desc="clicks", unit="ep"):
        episode, task, logits = first(
            variables, bank, records.support[i : i + 1], records.query[i : i + 1]
        )
        truth, valid = (np.asarray(x)[0, 0] for x in (episode.query_mask, episode.query_valid))
        annotation = np.full((1, 1, *truth.shape), weak_annotation.UNDECIDED, np.float32)
        answers, counted = [np.asarray(logits)[0, 0] > 0], valid > 0
        for _ in range(clicks):
            place = next_click(answers[-1] & counted, (truth > 0) & counted)
            if place is not None:
                annotation[0, 0][place] = truth[place]
            answers.append(np.asarray(again(variables, episode, task, annotation))[0, 0] > 0)
        same = np.broadcast_to(np.stack([truth, valid])[:, None], (2, len(answers), *truth.shape))
        counts.append(np.asarray(metrics.confusion(np.stack(answers), *same)))
        if i < SHOWN:
            shown.append((jax.device_get(episode), annotation[0, 0], answers))
    return np.stack(counts), shown


def summary(opened: Opened, records: Records, counts: np.ndarray, shots: int) -> dict:
    """What the JSON file holds (fractions in 0..1)."""
    rounds = []
    for number in range(counts.shape[1]):
        scores = metrics.score(
            counts[:, number], records.class_id, opened.data.item_image[records.query[:, 0]]
        )
        rounds.append({"miou": scores.miou, "miou_ci95": list(scores.miou_ci95)})
    return {
        **opened.facts(),
        "shots": shots,
        "episodes": len(records),
        "records_sha256": records_sha256(records),
        "clicks": rounds,
        **provenance(),
    }


def page(result: dict) -> Page:
    """The result, to read."""
    rows = [
        (number, percent(entry["miou"]), interval(entry["miou_ci95"]))
        for number, entry in enumerate(result["clicks"])
    ]
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}, {result['shots']}-shot "
        f"({result['annotation']}): clicks on the query",
        [
            Table(("clicks", "mIoU %", "95% interval"), rows),
            "Scored at the size that the method sees.",
        ],
    )


def _picture(path: Path, shown: list[tuple[Episode, np.ndarray, list[np.ndarray]]]) -> None:
    """A row an episode: truth, the answer without clicks, and with all of them, drawn in."""
    rows = []
    for episode, annotation, answers in shown:
        image, truth = episode.query_image[0, 0], episode.query_mask[0, 0]
        row = [("truth", drawing.overlay(image, truth > 0, drawing.TRUTH_COLOR))]
        for number in (0, len(answers) - 1):
            counts = metrics.confusion(answers[number], truth, episode.query_valid[0, 0])
            title = f"{number} clicks, IoU {metrics.iou(np.asarray(counts)):.2f}"
            row.append((title, drawing.overlay(image, answers[number], drawing.PREDICTION_COLOR)))
        drawn, reach = row[-1][1], max(1, len(image) // 80)
        for value, color in DOTS.items():
            for i, j in np.argwhere(annotation == value):
                drawn[max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1] = color
        rows.append(row)
    drawing.panels(path, rows)


def write(opened: Opened, shots: int, episodes: int, clicks: int) -> dict:
    """`interact`, kept as files; returns the result."""
    opened = opened.with_images(shots + opened.protocol.queries)
    records = opened.protocol.records(opened.data, shots)[:episodes]
    records = dataclasses.replace(records, query=records.query[:, :1])
    counts, shown = interact(opened, records, clicks)
    result = summary(opened, records, counts, shots)
    stem = opened.result(f"clicks_{opened.protocol.name}_{shots}shot")
    pages.write(stem, result, page(result), lambda path: _picture(path, shown))
    return result


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    arguments.add(parser, *OPENING)
    arguments.add(parser, "--shots", default=1)
    parser.add_argument("--clicks", type=arguments.COUNT, default=5, help="a query")
    arguments.add(parser, "--episodes", default=100)


def run(given: argparse.Namespace) -> None:
    messages.use_compilation_cache()
    opened = open_workdir(given.workdir, **{name[2:]: getattr(given, name[2:]) for name in OPENING})
    result = write(opened, given.shots, given.episodes, given.clicks)
    print(pages.text(page(result), result))
