"""Corrects the worst answers, and uses them as support.

  fss study growing_support --workdir runs/mine --dataset folder --class mug --rounds 3 --add 1

Iterative few-shot segmentation (FSS-1000 5.5). The class's first images are the support. Every round
segments the others, takes the worst of them with their correct masks (the dataset's labels stand in
for the person who corrects) into the support, and segments again. Images that a round took are no
longer scored: before and after are compared on those that never were support. Writes
WORKDIR/results/refine_CLASS.json, .md and .png.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np

from fss_jax.data import bank as banks
from fss_jax.data import datasets
from fss_jax.data.records import Records
from fss_jax.reports import drawing
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments, messages
from fss_jax.scoring import evaluation
from fss_jax.scoring.metrics import confusion, iou
from fss_jax.scoring.workdir import Opened, open_workdir

SHOWN = 6
OPENING = ("--dataset", "--split", "--data_dir", "--protocol", "--checkpoint")


@dataclasses.dataclass(frozen=True)
class Round:
    """One state of the support.

    Attributes:
      support: [K] item indices.
      ious: [n] of every image of the class, in the order of `members`, support included.
      logits: [n, S, T].
    """

    support: np.ndarray
    ious: np.ndarray
    logits: np.ndarray


def refine(
    opened: Opened, class_name: str, rounds: int, add: int, replace: bool
) -> tuple[dict, list]:
    """Grows (or renews) the support of a class by its worst answers.

    Args:
      rounds: how often.
      add: images a round.
      replace: keep the number of supports: the oldest leave. For methods that serve only the number
        of shots they were trained with.

    Returns:
      What the JSON file holds (fractions in 0..1), and the rounds.

    Raises:
      ValueError: an unknown class, or too few images of it.
    """
    members = _members(opened.data, class_name)
    shots = opened.config.shots
    needed = shots + rounds * add + 1
    if len(members) < needed:
        raise ValueError(
            f"class {class_name!r} has {len(members)} images; {shots} supports, {rounds} rounds of "
            f"{add} and an image to score need {needed}; lower --rounds or --add"
        )
    bank = jax.device_put(banks.load_bank(opened.data, opened.config.canvas))
    evaluator = evaluation.Evaluator(
        opened.model, opened.view, jax.local_devices()[:1], batch=1, with_trivial=False
    )
    support, ever = members[:shots], set(members[:shots])
    history = [_segment(opened, evaluator, bank, support, members)]
    for _ in range(rounds):
        free = np.asarray([item not in ever for item in members])
        order = np.argsort(np.where(free, history[-1].ious, np.inf), kind="stable")
        worst = members[order[:add]]
        ever |= set(worst)
        support = np.concatenate([support, worst])[add if replace else 0 :]
        history.append(_segment(opened, evaluator, bank, support, members))
    held_out = np.asarray([item not in ever for item in members])
    ids = [opened.data.items[item][0] for item in members]
    result = {
        **opened.facts(),
        "class": class_name,
        "held_out_images": int(held_out.sum()),
        "rounds": [
            {
                "support": [opened.data.items[item][0] for item in r.support],
                "held_out_iou": float(r.ious[held_out].mean()),
            }
            for r in history
        ],
        "per_image": {
            ids[i]: {"before": float(history[0].ious[i]), "after": float(history[-1].ious[i])}
            for i in np.flatnonzero(held_out)
        },
        **provenance(),
    }
    return result, history


def _members(data: datasets.Split, class_name: str) -> np.ndarray:
    if class_name not in data.class_names[1:]:
        known = ", ".join(sorted({data.class_names[c] for _, c in data.items})[:8])
        raise ValueError(f"{data.name} has no class {class_name!r}; for instance: {known}")
    class_id = data.class_names.index(class_name)
    return np.asarray([i for i, item in enumerate(data.items) if item[1] == class_id], np.int32)


def _segment(opened: Opened, evaluator, bank: banks.Bank, support, members) -> Round:
    class_id = np.asarray([opened.data.items[members[0]][1]], np.int32)
    ious, logits = [], []
    for item in members:
        records = Records(
            opened.data.items, class_id, support[None], np.asarray([[item]], np.int32)
        )
        episode, answer = evaluator.show(opened.variables, bank, records)
        counts = confusion(answer[0, 0] > 0, episode.query_mask[0, 0], episode.query_valid[0, 0])
        ious.append(iou(np.asarray(counts)))
        logits.append(answer[0, 0])
    return Round(support, np.asarray(ious), np.stack(logits))


def _picture(path: Path, opened: Opened, result: dict, history: list[Round]) -> None:
    """Held-out images that were worst before: truth, before, after; the last round's support above."""
    members = _members(opened.data, result["class"])
    position = {opened.data.items[item][0]: i for i, item in enumerate(members)}
    before = {name: entry["before"] for name, entry in result["per_image"].items()}
    shown = sorted(before, key=before.get)[:SHOWN]
    rows = []
    for name in shown:
        i = position[name]
        image, label = opened.data.read(int(opened.data.item_image[members[i]]))
        truth = label == opened.data.item_value[members[i]]
        panels = [(f"{name}, truth", truth, drawing.TRUTH_COLOR)]
        for what, state in (("before", history[0]), ("after", history[-1])):
            height, width = truth.shape
            answer = state.logits[i] > 0
            if not opened.view.score_size:  # on the canvas, in its top-left corner
                scale = min(1.0, opened.config.canvas / max(height, width))
                answer = answer[: round(height * scale), : round(width * scale)]
            down = np.arange(height) * answer.shape[0] // height
            across = np.arange(width) * answer.shape[1] // width
            stretched = answer[np.ix_(down, across)]
            panels.append((f"{what}, IoU {state.ious[i]:.2f}", stretched, drawing.PREDICTION_COLOR))
        rows.append([(title, drawing.overlay(image, mask, color)) for title, mask, color in panels])
    drawing.panels(path, rows)


def page(result: dict) -> Page:
    """The result, to read."""
    rows = [
        (number, len(entry["support"]), entry["support"][-1], percent(entry["held_out_iou"]))
        for number, entry in enumerate(result["rounds"])
    ]
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}, class {result['class']}: the "
        "support grown by corrected answers",
        [
            Table(("round", "supports", "newest", "IoU % on held-out images"), rows),
            f"{result['held_out_images']} images that never were support.",
        ],
    )


def write(opened: Opened, class_name: str, rounds: int, add: int, replace: bool) -> dict:
    """`refine`, kept as files; returns the result."""
    result, history = refine(opened, class_name, rounds, add, replace)
    stem = opened.result(f"refine_{class_name}".replace("/", "_"))
    pages.write(stem, result, page(result), lambda path: _picture(path, opened, result, history))
    return result


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    parser.add_argument("--class", dest="class_name", required=True, help="whose images to segment")
    arguments.add(parser, *OPENING)
    parser.add_argument("--rounds", type=arguments.COUNT_OR_NONE, default=3)
    parser.add_argument("--add", type=arguments.COUNT, default=1, help="corrected images a round")
    parser.add_argument(
        "--replace", action="store_true", help="the oldest supports leave: their number stays"
    )


def run(given: argparse.Namespace) -> None:
    messages.use_compilation_cache()
    opened = open_workdir(given.workdir, **{name[2:]: getattr(given, name[2:]) for name in OPENING})
    if opened.model.serves_its_shots_only and not given.replace:
        raise ValueError(
            f"this {opened.config.method} serves only the number of supports that it was trained with; "
            "add --replace"
        )
    result = write(opened, given.class_name, given.rounds, given.add, given.replace)
    print(pages.text(page(result), result))
