"""Pictures of what the support does to the answer (OSLSM supplement, Figures S4 and S5).

  fss study conditioning --workdir runs/mine

Writes WORKDIR/results/conditioning_*.png and conditioning.json, of test episodes drawn by --seed:
  classes   one query, asked for by supports of two classes (both are in it, where the data has such
            images)
  masks     one query and one support image with other masks: the object, its left half, its box,
            all but the object, nothing
  shots     one query, one support alone against five
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fss_jax.data import bank as banks
from fss_jax.data import weak_annotation
from fss_jax.data.bank import Episode
from fss_jax.data.datasets import Split
from fss_jax.reports import drawing
from fss_jax.reports.drawing import PREDICTION_COLOR, SUPPORT_COLOR, TILE, TRUTH_COLOR
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments, files, messages
from fss_jax.scoring import metrics
from fss_jax.scoring.workdir import Opened, open_workdir

SHOTS = 5  # of the third picture
OPENING = ("--dataset", "--split", "--data_dir", "--protocol", "--checkpoint")


@dataclasses.dataclass(frozen=True)
class Panel:
    """A tile of a picture: an image [h, w, 3] in 0..255 with a mask [h, w], and a line below it."""

    image: np.ndarray
    mask: np.ndarray
    note: str
    color: tuple[int, int, int]
    lit: bool = False  # darkened outside the mask instead of tinted inside


class Asker:
    """A trained method, asked about items of a split by supports of one's choice."""

    def __init__(self, opened: Opened):
        self.opened, self.data = opened, opened.data
        self.bank = banks.load_bank(opened.data, opened.config.canvas)
        view, model = opened.view, opened.model
        self._cut = jax.jit(lambda bank, *items: view.episode(bank, *items))

        @jax.jit
        def answer(variables, image, mask, query, size):
            return view.to_score(model.apply(variables, image, mask, query), size)

        self._answer = answer

    def episode(self, support: Sequence[int], query: int) -> Episode:
        items = np.asarray([support], np.int32), np.asarray([[query]], np.int32)
        return jax.tree.map(np.asarray, self._cut(self.bank, *items))

    def mask(self, episode: Episode, support_mask: np.ndarray | None = None) -> np.ndarray:
        """The answer, bool [S, T] at the size that is scored; with other support masks if given."""
        masks = episode.support_mask if support_mask is None else support_mask
        images = episode.support_image, masks, episode.query_image
        logits = self._answer(self.opened.variables, *images, episode.query_size)
        return np.asarray(logits[0, 0] > 0)

    def iou(self, episode: Episode, mask: np.ndarray) -> float:
        truth = episode.query_mask[0, 0], episode.query_valid[0, 0]
        return float(metrics.iou(np.asarray(metrics.confusion(mask, *truth))))

    def answered(self, episode: Episode, mask: np.ndarray, note: str = "") -> Panel:
        note = f"{note}IoU {self.iou(episode, mask):.2f}"
        return Panel(episode.query_image[0, 0], self._shown(episode, mask), note, PREDICTION_COLOR)

    def truth(self, episode: Episode, name: str) -> Panel:
        mask = self._shown(episode, episode.query_mask[0, 0] > 0)
        return Panel(episode.query_image[0, 0], mask, f"query: {name}", TRUTH_COLOR)

    def _shown(self, episode: Episode, mask: np.ndarray) -> np.ndarray:
        """A mask at the size that is scored, as it lies over the query that the method sees.

        Scored at the true size, a mask fills the canvas's corner; a warped query fills its square.
        """
        view = self.opened.view
        if view.query_size and not view.score_size:
            height, width = episode.query_size[0, 0]
            return mask[:height, :width]
        return mask

    def name(self, item: int) -> str:
        return self.data.class_names[self.data.items[item][1]]


def two_classes(asker: Asker, rng: np.random.Generator, count: int) -> list[list[Panel]]:
    """Rows: the query, then a support and the answer to it, for two classes.

    Where no image shows two classes, the query shows the first and the second is not there.
    """
    data, rows = asker.data, []
    for first, second in _pairs(data, rng, count):
        both = data.item_image[first] == data.item_image[second]
        row: list[Panel] = []
        for item in (first, second):
            there = both or item == first
            episode = asker.episode([_other(data, item, rng)], item if there else first)
            answer = asker.mask(episode)
            row = row or [asker.truth(episode, asker.name(first))]
            row.append(_shown(episode, 0, asker.name(item)))
            panel = asker.answered(episode, answer)
            if not there:
                panel = dataclasses.replace(panel, note=f"not there: {answer.mean():.0%} marked")
            row.append(panel)
        rows.append(row)
    return rows


def other_masks(asker: Asker, rng: np.random.Generator, count: int) -> list[list[Panel]]:
    """Rows: the query's truth, then a support mask and the answer to it, for each of `CHANGES`."""
    rows = []
    for query in _queries(asker.data, rng, count):
        episode = asker.episode([_other(asker.data, query, rng)], query)
        row = [asker.truth(episode, asker.name(query))]
        for name, change in CHANGES.items():
            masks = change(episode.support_mask)
            shown = _shown(episode.replace(support_mask=masks), 0, name)
            row += [shown, asker.answered(episode, asker.mask(episode, masks))]
        rows.append(row)
    return rows


def more_shots(asker: Asker, rng: np.random.Generator, count: int) -> list[list[Panel]]:
    """Rows: the query's truth, each support with the answer to it alone, and the answer to all."""
    rows = []
    for query in _queries(asker.data, rng, count, needed=SHOTS + 1):
        members = _members(asker.data, query)
        support = rng.choice(members, SHOTS, replace=False).tolist()
        together = asker.episode(support, query)
        row = [asker.truth(together, asker.name(query))]
        for k, item in enumerate(support):
            alone = asker.episode([item], query)
            answer = asker.mask(alone)
            row.append(_shown(together, k, f"alone: IoU {asker.iou(alone, answer):.2f}"))
            if k == 0:
                row.append(asker.answered(alone, answer, "that one alone: "))
        row.append(asker.answered(together, asker.mask(together), f"all {SHOTS}: "))
        rows.append(row)
    return rows


def _left_half(mask: np.ndarray) -> np.ndarray:
    """The part of a mask [1, 1, h, w] left of its middle column."""
    columns = np.flatnonzero(mask.any((0, 1, 2)))
    middle = columns.mean() if len(columns) else 0.0
    return mask * (np.arange(mask.shape[-1]) <= middle)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the object": lambda mask: mask,
    "its left half": _left_half,
    "its box": lambda mask: np.asarray(weak_annotation.box(jnp.asarray(mask))),
    "all but it": lambda mask: 1.0 - mask,
    "nothing": np.zeros_like,
}
PICTURES = {"classes": two_classes, "masks": other_masks, "shots": more_shots}


def _members(data: Split, item: int) -> np.ndarray:
    """The items of the same class in other images."""
    same = [i for i, (_, class_id) in enumerate(data.items) if class_id == data.items[item][1]]
    return np.asarray([i for i in same if data.item_image[i] != data.item_image[item]])


def _other(data: Split, item: int, rng: np.random.Generator) -> int:
    return int(rng.choice(_members(data, item)))


def _queries(data: Split, rng: np.random.Generator, count: int, needed: int = 2) -> list[int]:
    """Items of classes that have so many images; as many classes as there are."""
    order = rng.permutation(len(data.items)).tolist()
    enough = [i for i in order if len(_members(data, i)) >= needed - 1]
    if not enough:
        raise ValueError(
            f"{data.name} has no class of {needed} images; --split or --dataset another"
        )
    return _spread(enough, [data.items[i][1] for i in enough])[:count]


def _pairs(data: Split, rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Two items of one image, or where no image shows two classes, of two."""
    queries = _queries(data, rng, len(data.items))
    class_id = {i: data.items[i][1] for i in queries}
    pairs = [
        (i, j) for i in queries for j in queries
        if data.item_image[i] == data.item_image[j] and class_id[i] < class_id[j]
    ]  # fmt: skip
    if not pairs:
        rest = iter(queries[::-1])
        pairs = [(i, j) for i, j in zip(queries, rest, strict=True) if class_id[i] != class_id[j]]
    return _spread(pairs, [(class_id[i], class_id[j]) for i, j in pairs])[:count]


def _spread(values: list, kinds: list) -> list:
    """The values, those first whose kind has come up least often."""
    seen: dict = {}
    turn = []
    for kind in kinds:
        turn.append(seen.setdefault(kind, 0))
        seen[kind] += 1
    return [values[i] for i in np.argsort(turn, kind="stable").tolist()]


def _shown(episode: Episode, k: int, note: str) -> Panel:
    mask = episode.support_mask[0, k] > 0
    return Panel(episode.support_image[0, k], mask, note, SUPPORT_COLOR, lit=True)


def draw(path: Path, rows: list[list[Panel]]) -> None:
    """A PNG of the rows, a tile a panel."""
    gap, line = 6, 20
    columns = max(map(len, rows))
    size = (columns * (TILE + gap) + gap, len(rows) * (TILE + line + gap) + gap)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            rgb = np.clip(panel.image, 0, 255).astype(np.uint8)
            rgb = np.asarray(Image.fromarray(rgb).resize((TILE, TILE), Image.Resampling.BILINEAR))
            mask = Image.fromarray(panel.mask.astype(np.uint8))
            mask = np.asarray(mask.resize((TILE, TILE), Image.Resampling.NEAREST)) > 0
            tinted = (drawing.spotlight if panel.lit else drawing.overlay)(rgb, mask, panel.color)
            left, top = gap + c * (TILE + gap), gap + r * (TILE + line + gap)
            sheet.paste(Image.fromarray(tinted), (left, top))
            note = panel.note
            while (
                font.getlength(note) > TILE
            ):  # a class's long name ends in what tells it from others
                note = f"…{note.lstrip('…')[1:]}"
            pen.text((left, top + TILE + 2), note, fill="black", font=font)
    with files.atomic(path) as temporary:
        sheet.save(temporary, "PNG")


def pictures(opened: Opened, count: int = 3, seed: int = 0) -> dict:
    """Draws a workdir's three pictures; returns what conditioning.json holds: the notes of the rows."""
    asker = Asker(opened)
    notes = {}
    for name, make in PICTURES.items():
        rows = make(asker, np.random.default_rng(seed), count)
        draw(opened.result(f"conditioning_{name}").with_suffix(".png"), rows)
        notes[name] = [[panel.note for panel in row] for row in rows]
    result = {**opened.facts(), "seed": seed, "rows": notes, **provenance()}
    files.write_json(opened.result("conditioning").with_suffix(".json"), result)
    return result


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    arguments.add(parser, *OPENING, "--seed")
    parser.add_argument("--rows", type=arguments.COUNT, default=3, help="queries a picture")


def run(given: argparse.Namespace) -> None:
    messages.use_compilation_cache()
    opened = open_workdir(given.workdir, **{name[2:]: getattr(given, name[2:]) for name in OPENING})
    pictures(opened, given.rows, given.seed)
    print(f"see {opened.result('conditioning')}_*.png")
