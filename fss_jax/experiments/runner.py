"""Trains and scores what a published table needs, each part once, and writes ours beside it."""

import dataclasses
import importlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fss_jax import checkpoints, report, results, training
from fss_jax.runs import provenance_line

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of an experiment.

    Attributes:
      name: of its folder; experiments that share a workdir share the trainings of one name.
      config: a file of fss_jax/configs.
      changes: settings of the config, 'model.form' for a field of the model.
      start: the training whose parameters it starts from.
    """

    name: str
    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: str = ""

    def get_config(self, data_dir: str | Path, workdir: Path) -> ConfigDict:
        config = importlib.import_module(f"fss_jax.configs.{self.config}").get_config()
        config.data_dir = str(data_dir)
        if self.start:
            config.init = f"workdir:{workdir / self.start}"
        for key, value in self.changes.items():
            if key.startswith("model."):
                config.model[key.removeprefix("model.")] = value
            else:
                config[key] = value
        return config


@dataclasses.dataclass(frozen=True)
class Scoring:
    """One number of the table.

    Attributes:
      row, column: where it stands.
      training: what is scored.
      published: mIoU in percent, None where none was.
      settings: arguments of `results.evaluate`.
    """

    row: str
    column: str
    training: str
    published: float | None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.row} {self.column}".lower().replace("/", "_").replace(" ", "_") + ".json"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table.

    Attributes:
      title: what it shows.
      notes: what a reader must know: source, and where ours differs.
    """

    title: str
    notes: str
    trainings: tuple[Training, ...]
    scorings: tuple[Scoring, ...]


def run(name: str, experiment: Experiment, data_dir: str | Path, workdir: Path) -> str:
    """Runs what is missing of an experiment and writes WORKDIR/NAME.md; returns its text.

    Trainings lie in WORKDIR/TRAINING, scores in WORKDIR/scores/NAME.

    Raises:
      ValueError, FileNotFoundError: data or weights that are not there; one line each.
      InterruptedError: a training was stopped (SIGTERM) before its end.
    """
    for part in experiment.trainings:
        config = part.get_config(data_dir, workdir)
        done = checkpoints.finished_steps(workdir / part.name)
        if done and done[-1] >= config.steps:
            log.info("%s: trained already", part.name)
            continue
        log.info("%s: training %d steps", part.name, config.steps)
        training.train(config, workdir / part.name)
        reached = checkpoints.finished_steps(workdir / part.name)[-1]
        if reached < config.steps:
            raise InterruptedError(
                f"{part.name} was stopped at step {reached} of {config.steps}; run the same command "
                "again to go on"
            )
    scores = []
    for scoring in experiment.scorings:
        path = workdir / "scores" / name / scoring.file
        folder = checkpoints.checkpoint_folder(workdir / scoring.training)
        known = json.loads(path.read_text()) if path.is_file() else {}
        if known.get("checkpoint_step") != int(folder.name):  # none, or of a shorter training
            log.info("%s: scoring %s", scoring.training, scoring.column)
            known = results.evaluate(
                workdir / scoring.training, data_dir=str(data_dir), **scoring.settings
            )
            report.write_json(path, known)
        scores.append(known)
    text = table(experiment, scores)
    report.write_text(workdir / f"{name}.md", text)
    return text


def table(experiment: Experiment, scores: list[dict]) -> str:
    """Ours beside published as Markdown."""
    lines = [
        f"# {experiment.title}",
        "",
        experiment.notes,
        "",
        "| row | tested on | ours, mIoU % | 95% interval | published | episodes | records | step |",
        "| --- |" + " --- |" * 7,
    ]
    for scoring, score in zip(experiment.scorings, scores, strict=True):
        low, high = (100 * bound for bound in score["miou_ci95"])
        published = "" if scoring.published is None else f"{scoring.published:.2f}"
        cells = [
            scoring.row,
            scoring.column,
            f"{100 * score['miou']:.2f}",
            f"{low:.2f} to {high:.2f}",
            published,
            str(score["episodes"]),
            f"`{score['records_sha256'][:12]}`",
            str(score["checkpoint_step"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{provenance_line(scores[-1])}.", "", f"`{scores[-1]['command']}`", ""]
    return "\n".join(lines)
