"""A figure of test scores while methods train: each training stops at some steps to be scored."""

import dataclasses
import json
import logging
from pathlib import Path

from fss_jax import weights
from fss_jax.experiments import toy
from fss_jax.experiments.runner import Scoring, Training, train_until
from fss_jax.reports.figures import COLORS, plt
from fss_jax.reports.page import Table, interval, percent
from fss_jax.reports.provenance import provenance_line
from fss_jax.runtime import checkpoints, files
from fss_jax.scoring import results

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LearningCurves:
    """mIoU on the test classes against training steps, and levels to compare with.

    The trainings have a constant learning rate: a stop changes nothing.

    Attributes:
      lines: label -> training.
      marks: steps at which each is scored.
      settings: arguments of `results.evaluate`.
      levels: scored once, drawn as horizontal lines; their `row` is the label.
      notes: what the page says of the figure.
    """

    lines: tuple[tuple[str, Training], ...]
    marks: tuple[int, ...]
    settings: dict
    levels: tuple[Scoring, ...] = ()
    notes: str = ""

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Trains, scores and draws WORKDIR/NAME.png; returns its table.

        A line whose weights are not there is left out, and named.
        """
        scores, left_out = {}, {}
        for label, training in self.lines:
            missing = weights.absent(training.get_config(data_dir, workdir).init)
            if missing:
                log.warning("%s is left out: %s", label, missing)
                left_out[label] = missing
                continue
            scores[label] = [
                self._score(name, label, training, mark, data_dir, workdir) for mark in self.marks
            ]
        levels = {}
        for level in self.levels:
            missing = level.training and weights.absent(f"workdir:{workdir / level.training}")
            if missing:
                left_out[level.row] = missing
                continue
            path = workdir / "scores" / name / level.file
            if not path.is_file():
                log.info("scoring %s", level.row)
                files.write_json(path, level.score(data_dir, workdir))
            levels[level.row] = json.loads(path.read_text())
        if not scores:
            raise ValueError(f"{name} has no line to draw: " + "; ".join(left_out.values()))
        self._draw(workdir / f"{name}.png", scores, levels)
        return self._table(name, scores, levels, left_out)

    def shrink(self) -> "LearningCurves":
        probe = Scoring("", "", "", None, self.settings)
        return dataclasses.replace(
            self,
            lines=tuple(
                (label, toy.shrink_training(one)) for label, one in (self.lines[0], self.lines[-1])
            ),
            marks=(1, 2),
            settings=dict(toy.shrink_scoring(probe).settings),
            levels=tuple(map(toy.shrink_scoring, self.levels[:1])),
        )

    def _score(self, name, label, training: Training, mark: int, data_dir, workdir: Path) -> dict:
        path = workdir / "scores" / name / f"{training.name}_{mark}.json"
        if path.is_file():
            return json.loads(path.read_text())
        config = training.get_config(data_dir, workdir)
        config.steps = mark
        if config.schedule != "constant":
            raise ValueError(
                f"{training.name}: config.schedule {config.schedule!r} is not constant"
            )
        folder = workdir / training.name
        done = checkpoints.finished_steps(folder)
        if done and done[-1] > mark:
            raise ValueError(
                f"{folder} has gone past step {mark}, of which {path} is not there; remove it to train "
                "again"
            )
        train_until(training, config, folder)
        log.info("%s: scoring step %d", label, mark)
        score = results.evaluate(
            folder, data_dir=str(data_dir), checkpoint="latest", **self.settings
        )
        files.write_json(path, score)
        return score

    def _draw(self, path: Path, scores: dict, levels: dict) -> None:
        figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
        for (label, measured), color in zip(scores.items(), COLORS, strict=False):
            middle = [100 * score["miou"] for score in measured]
            low, high = zip(*([100 * b for b in s["miou_ci95"]] for s in measured), strict=True)
            axis.plot(self.marks, middle, color=color, marker="o", label=label)
            axis.fill_between(self.marks, low, high, color=color, alpha=0.12, linewidth=0)
        for (label, score), style in zip(levels.items(), ("--", ":", "-."), strict=False):
            axis.axhline(100 * score["miou"], color="#555555", linestyle=style, label=label)
        axis.set(xlabel="training step", ylabel="mIoU of the test classes, %", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
        with files.atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        plt.close(figure)

    def _table(self, name: str, scores: dict, levels: dict, left_out: dict[str, str]) -> str:
        def cell(score: dict) -> str:
            return f"{percent(score['miou'])} ({interval(score['miou_ci95'])})"

        rows = [[label, *map(cell, measured)] for label, measured in scores.items()]
        rows += [[label, *[cell(score)] * len(self.marks)] for label, score in levels.items()]
        head = ["mIoU %", *(f"step {mark}" for mark in self.marks)]
        lines = [f"![{name}]({name}.png)", "", str(Table(head, rows))]
        if left_out:
            named = "; ".join(f"{label} ({why})" for label, why in left_out.items())
            lines += ["", f"Left out, for want of weights: {named}."]
        last = next(iter(scores.values()))[-1]
        lines += [
            "",
            f"{last['episodes']} episodes, records sha256 `{last['records_sha256'][:12]}`; "
            f"{provenance_line(last)}. {self.notes}".rstrip(),
            "",
        ]
        return "\n".join(lines)
