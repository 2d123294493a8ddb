"""Scores by super-category, several networks side by side (FSS-1000, Figures 6 and 8)."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_builders.fss_1000 import class_lists
from fss_jax.data import datasets
from fss_jax.experiments import toy
from fss_jax.experiments.runner import Part, Scoring, scored
from fss_jax.reports.figures import COLORS, plt
from fss_jax.reports.page import Table, interval, percent
from fss_jax.reports.provenance import provenance_line
from fss_jax.runtime import checkpoints, files

WHOLE = "all classes"


@dataclasses.dataclass(frozen=True)
class SuperCategories(Part):
    """A group of bars for each super-category, and for all classes: a bar for each network.

    Attributes:
      scorings: their `row` is the label in the legend.
      overlap: whether to show, beside it, what share of each super-category's classes are objects
        that the network's training set shows (`class_lists.shown_by`).
      reading: what the page says of the figure.
    """

    scorings: tuple[Scoring, ...]
    overlap: bool = False
    reading: str = ""

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Scores what has no score yet, draws WORKDIR/NAME.png and returns the table."""
        scores = {one.row: scored(one, data_dir, workdir) for one in self.scorings}
        tables = {row: _by_category(score) for row, score in scores.items()}
        names = sorted(set().union(*tables.values()) - {WHOLE}) + [WHOLE]
        shares = {}
        if self.overlap:
            members = _members(next(iter(scores.values())), data_dir)
            for one in self.scorings:
                shown = _shown(members[WHOLE], workdir / one.training, data_dir)
                shares[one.row] = {n: len(members[n] & shown) / len(members[n]) for n in names}
        draw(workdir / f"{name}.png", names, tables, shares)
        last = scores[self.scorings[-1].row]
        parts = [
            f"![{name}]({name}.png)",
            str(_table(names, tables, shares)),
            f"{provenance_line(last)}. {self.reading}".rstrip(),
        ]
        return "\n\n".join(parts) + "\n"

    def shrink(self) -> "SuperCategories":
        return dataclasses.replace(self, scorings=tuple(map(toy.shrink_scoring, self.scorings)))


def _by_category(score: Mapping) -> dict[str, dict]:
    """The score's super-categories, where its dataset has them, and all its classes together."""
    whole = {
        "miou": score["miou"],
        "ci95": score["miou_ci95"],
        "classes": len(score["per_class"]),
    }
    return {**(score.get("super_categories") or {}), WHOLE: whole}


def _members(score: Mapping, data_dir: str | Path) -> dict[str, set[str]]:
    """The names of the scored classes in each super-category."""
    split = datasets.open_split(score["dataset"], score["split"], data_dir)
    members = {WHOLE: set(score["per_class"])}
    for class_id, names in split.super_categories.items():
        if split.class_names[class_id] in members[WHOLE]:
            for name in names:
                members.setdefault(name, set()).add(split.class_names[class_id])
    return members


def _shown(names: set[str], training: Path, data_dir: str | Path) -> set[str]:
    """The classes whose objects a training saw under whatever name."""
    config, _ = checkpoints.load_meta(checkpoints.checkpoint_folder(training))
    split = datasets.open_split(config.dataset, config.train_split, data_dir)
    trained = {split.class_names[class_id] for _, class_id in split.items}
    return class_lists.shown_by(names, trained)


def _table(names: Sequence[str], tables: Mapping, shares: Mapping) -> Table:
    def cell(row: str, name: str) -> str:
        found = tables[row].get(name)
        said = f"{percent(found['miou'])} ({interval(found['ci95'])})" if found else ""
        return f"{said}, overlap {percent(shares[row][name], 0)}" if row in shares else said

    first = next(iter(tables.values()))
    rows = [[n, first[n]["classes"], *(cell(row, n) for row in tables)] for n in names]
    return Table(("super-category", "classes", *(f"{row}, mIoU %" for row in tables)), rows)


def draw(path: Path, names: Sequence[str], tables: Mapping, shares: Mapping) -> None:
    """A PNG of horizontal bars in groups, the first name on top, with 95% intervals.

    Args:
      tables: label -> name -> {'miou', 'ci95'}, fractions.
      shares: label -> name -> share of classes; drawn in a panel of their own if there are any.
    """
    panels = 2 if shares else 1
    height = 1.4 + len(names) * (0.16 + 0.13 * len(tables))
    figure, axes = plt.subplots(
        1, panels, figsize=(6.4 + 3 * (panels - 1), height), layout="constrained", squeeze=False,
        sharey=True, width_ratios=[3, 1][:panels],
    )  # fmt: skip
    thick = 0.8 / len(tables)
    for number, (label, table) in enumerate(tables.items()):
        places = np.arange(len(names)) + (number + 0.5) * thick - 0.4
        values = np.asarray([100 * table[n]["miou"] if n in table else np.nan for n in names])
        bounds = np.asarray([100 * np.asarray(table.get(n, {}).get("ci95", (0, 0))) for n in names])
        errors = np.maximum(np.abs(bounds - values[:, None]).T, 0)
        axes[0, 0].barh(
            places, values, thick, xerr=errors, color=COLORS[number % len(COLORS)], label=label,
            error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
        )  # fmt: skip
        if shares:
            share = [100 * shares[label][n] for n in names]
            axes[0, 1].barh(places, share, thick, color=COLORS[number % len(COLORS)])
    axes[0, 0].set(xlim=(0, 100), xlabel="mIoU in %, 95% interval")
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    if shares:
        axes[0, 1].set(xlim=(0, 100), xlabel="classes that it saw, %")
    for axis in axes.flat:
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
