"""Trains and scores what a published table needs, each part once, and writes ours beside it."""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from ml_collections import ConfigDict

from fss_jax import configs, weights
from fss_jax.reports.page import Table, interval, percent
from fss_jax.reports.provenance import provenance_line
from fss_jax.runtime import checkpoints, files
from fss_jax.scoring import results
from fss_jax.training import base_network, loop

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of an experiment.

    Attributes:
      name: of its folder; experiments that share a workdir share the trainings of one name.
      config: METHOD/NAME of fss_jax/configs.
      changes: settings of the config, 'model.form' for a field of the model.
      start: the training whose parameters it starts from.
    """

    name: str
    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: str = ""

    def get_config(self, data_dir: str | Path, workdir: Path) -> ConfigDict:
        init = f"workdir:{workdir / self.start}" if self.start else ""
        return _config(self.config, self.changes, data_dir, init)

    def train(self, config: ConfigDict, folder: Path) -> None:
        """Trains or resumes; other kinds of training are subclasses."""
        loop.train(config, folder)


class BaseTraining(Training):
    """A base network's (fss_jax.training.base_network)."""

    def train(self, config: ConfigDict, folder: Path) -> None:
        base_network.train(config, folder)


@dataclasses.dataclass(frozen=True)
class Scoring:
    """One number of the table.

    Attributes:
      row, column: where it stands.
      training: whose weights are scored; empty for a method that has none.
      published: mIoU in percent, None where none was.
      settings: arguments of `results.evaluate`.
      config: METHOD/NAME of fss_jax/configs: a method that is not trained itself and stands on the
        training's weights; empty: the method that was trained.
      changes: settings of that config, as in a Training.
    """

    row: str
    column: str
    training: str
    published: float | None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: str = ""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> str:
        """Where its score is kept; experiments of one workdir share what is scored alike."""
        scored = (
            self.training,
            self.config,
            sorted(self.changes.items()),
            sorted(self.settings.items()),
        )
        digest = hashlib.sha256(repr(scored).encode()).hexdigest()[:8]
        name = f"{self.row} {self.column}".lower().replace("/", "_").replace(" ", "_")
        return f"{name}_{digest}.json"

    def get_config(self, data_dir: str | Path, workdir: Path) -> ConfigDict | None:
        """The untrained method's config, its weights being the training's; None if it was trained."""
        if not self.config:
            return None
        init = f"workdir:{workdir / self.training}" if self.training else ""
        return _config(self.config, self.changes, data_dir, init)

    def score(self, data_dir: str | Path, workdir: Path) -> dict:
        """`results.evaluate`, into the training's folder, or one of its own for an untrained method."""
        config = self.get_config(data_dir, workdir)
        folder = workdir / "_".join(filter(None, (self.config.replace("/", "_"), self.training)))
        return results.evaluate(folder, data_dir=str(data_dir), config=config, **self.settings)


@runtime_checkable
class Part(Protocol):
    """Anything else that an experiment shows: a timing table, a figure."""

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Does what is missing and returns its Markdown; files it writes are WORKDIR/NAME_*."""

    def shrink(self) -> "Part":
        """The same at toy size, on toy.DATASET."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table.

    Attributes:
      title: what it shows.
      notes: what a reader must know: source, and where ours differs.
      trainings, scorings: done in this order; the scorings are the table's rows.
      parts: what follows the table.
    """

    title: str
    notes: str
    trainings: tuple[Training, ...]
    scorings: tuple[Scoring, ...]
    parts: tuple[Part, ...] = ()


def _config(name: str, changes: Mapping[str, Any], data_dir: str | Path, init: str) -> ConfigDict:
    config = configs.get(name)
    config.data_dir = str(data_dir)
    if init:
        config.init = init
    for key, value in changes.items():
        if key.startswith("model."):
            config.model[key.removeprefix("model.")] = value
        else:
            config[key] = value
    return config


def train_until(part: Training, config: ConfigDict, folder: Path) -> None:
    """Trains a part to the end of its config, unless it is there.

    Raises:
      InterruptedError: it was stopped (SIGTERM) before.
    """
    done = checkpoints.finished_steps(folder)
    if done and done[-1] >= config.steps:
        return
    log.info("%s: training %d steps", part.name, config.steps)
    part.train(config, folder)
    _forget_compiled()
    reached = checkpoints.finished_steps(folder)[-1]
    if reached < config.steps:
        raise InterruptedError(
            f"{part.name} was stopped at step {reached} of {config.steps}; run the same command again "
            "to go on"
        )


def _forget_compiled() -> None:
    """Frees the programs of a network that is not run again.

    On a CPU each holds some hundred memory mappings of the 65,530 that Linux grants a process; beyond
    them XLA ends in a segmentation fault, in the middle of `fss experiments all`.
    """
    jax.clear_caches()


def scored(scoring: Scoring, data_dir: str | Path, workdir: Path) -> dict:
    """What `Scoring.score` gives, kept in WORKDIR/scores as long as its training has the same step."""
    path = workdir / "scores" / scoring.file
    step = 0
    if scoring.training:
        which = scoring.settings.get("checkpoint", "best")
        step = int(checkpoints.checkpoint_folder(workdir / scoring.training, which).name)
    known = json.loads(path.read_text()) if path.is_file() else {}
    if known.get("training_step") != step:  # none, or of a shorter training
        log.info("%s: scoring %s", scoring.row, scoring.column)
        known = scoring.score(data_dir, workdir) | {"training_step": step}
        _forget_compiled()
        files.write_json(path, known)
    return known


def by_checkpoint(experiment: Experiment, which: str) -> Experiment:
    """The experiment with every trained method scored at its 'best' or its 'latest' checkpoint.

    'latest' is the end of training, where OSLSM's paper stops (4.3); 'best' is by validation.
    """
    return dataclasses.replace(
        experiment,
        scorings=tuple(
            one
            if one.config
            else dataclasses.replace(one, settings={**one.settings, "checkpoint": which})
            for one in experiment.scorings
        ),
    )


def run(name: str, experiment: Experiment, data_dir: str | Path, workdir: Path) -> str:
    """Runs what is missing of an experiment and writes WORKDIR/NAME.md; returns its text.

    Trainings lie in WORKDIR/TRAINING, scores in WORKDIR/scores. The parts' text follows the table.

    Raises:
      ValueError, FileNotFoundError: data or weights that are not there; one line each.
      InterruptedError: a training was stopped (SIGTERM) before its end.
    """
    parts = {part.name: part for part in experiment.trainings}

    def ensure(name: str) -> None:
        part = parts[name]
        if part.start:
            ensure(part.start)
        train_until(part, part.get_config(data_dir, workdir), workdir / name)

    scores = []
    for scoring in experiment.scorings:
        if scoring.training:  # just before it is scored, so that a stopped run has whole rows
            ensure(scoring.training)
        scores.append(scored(scoring, data_dir, workdir))
    for training_name, part in parts.items():  # what only the parts below need
        missing = weights.absent(part.get_config(data_dir, workdir).init)
        if missing:  # they name what they leave out
            log.warning("%s is not trained: %s", training_name, missing)
        else:
            ensure(training_name)
    text = table(experiment, scores)
    for part in experiment.parts:
        text += "\n" + part.run(name, data_dir, workdir)
    files.write_text(workdir / f"{name}.md", text)
    return text


HEAD = (
    "row",
    "tested on",
    "ours, mIoU %",
    "95% interval",
    "published",
    "episodes",
    "records",
    "step",
)


def table(experiment: Experiment, scores: list[dict]) -> str:
    """Ours beside published as Markdown."""
    lines = [f"# {experiment.title}", "", experiment.notes, ""]
    if not scores:
        return "\n".join(lines)
    rows = [
        (
            scoring.row,
            scoring.column,
            percent(score["miou"], 2),
            interval(score["miou_ci95"], 2),
            "" if scoring.published is None else f"{scoring.published:.2f}",
            score["episodes"],
            f"`{score['records_sha256'][:12]}`",
            score["training_step"],
        )
        for scoring, score in zip(experiment.scorings, scores, strict=True)
    ]
    lines.append(str(Table(HEAD, rows)))
    lines += _fold_means(experiment, scores)
    lines += ["", f"{provenance_line(scores[-1])}.", "", f"`{scores[-1]['command']}`", ""]
    return "\n".join(lines)


FOLDS = 4


def _fold_means(experiment: Experiment, scores: list[dict]) -> list[str]:
    """A line for each row and number of shots that has a score on every fold."""
    found: dict[tuple[str, str], dict[str, tuple[float, float | None]]] = {}
    for scoring, score in zip(experiment.scorings, scores, strict=True):
        fold = re.search(r"fold (\d) ", scoring.column)
        if fold:
            key = scoring.row, scoring.column[fold.end() :]
            found.setdefault(key, {})[fold[1]] = (100 * score["miou"], scoring.published)
    means = {
        key: list(zip(*folds.values(), strict=True))
        for key, folds in found.items()
        if len(folds) == FOLDS
    }
    if not means:
        return []
    rows = []
    for (row, column), (ours, published) in means.items():
        known = "" if None in published else f"{np.mean(published):.2f}"
        rows.append((row, column, f"{np.mean(ours):.2f}", known))
    return ["", str(Table(("row", "mean of the folds", "ours, mIoU %", "published"), rows))]
