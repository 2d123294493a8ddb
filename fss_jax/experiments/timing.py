"""Seconds an episode of several methods: measured in one run, on one device, all warmed up."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from fss_jax.data import bank as banks
from fss_jax.experiments import toy
from fss_jax.experiments.runner import Scoring
from fss_jax.reports.page import Table
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import files
from fss_jax.scoring.workdir import open_workdir

WARM_UP = 2  # calls after the one that compiles


@dataclasses.dataclass(frozen=True)
class TimingTable:
    """A table of seconds an episode: support and query images in, the query's mask out, batch 1.

    Decoding and warping are not in it. Methods take turns on each episode, so that whatever else the
    machine does falls on all of them.

    Attributes:
      scorings: a method at so many shots (`settings['shots']`); `published` is in seconds.
      reference: the row that the others' times are divided by.
      rounds: episodes.
    """

    scorings: tuple[Scoring, ...]
    reference: str
    rounds: int = 20

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Measures unless WORKDIR/NAME_times.json is there; returns the table."""
        path = workdir / f"{name}_times.json"
        if not path.is_file():
            calls = [self._call(scoring, data_dir, workdir) for scoring in self.scorings]
            seconds = np.asarray(measure(calls, self.rounds))
            rows = [
                {
                    "row": scoring.row,
                    "column": scoring.column,
                    "published": scoring.published,
                    "seconds": float(np.median(times)),
                    "quartiles": np.percentile(times, [25, 75]).tolist(),
                }
                for scoring, times in zip(self.scorings, seconds, strict=True)
            ]
            files.write_json(path, {"rows": rows, "rounds": self.rounds, **provenance()})
        return self.table(json.loads(path.read_text()))

    def shrink(self) -> "TimingTable":
        scorings = tuple(map(toy.shrink_scoring, self.scorings))
        return dataclasses.replace(self, scorings=scorings, rounds=2)

    def _call(self, scoring: Scoring, data_dir: str | Path, workdir: Path) -> Callable:
        """(round) -> None: segments an episode and waits for it."""
        settings = dict(scoring.settings)
        shots = settings.pop("shots")
        for unused in ("episodes", "trivial"):
            settings.pop(unused, None)
        opened = open_workdir(
            workdir / scoring.training,
            data_dir=str(data_dir),
            config=scoring.get_config(data_dir, workdir),
            **settings,
        )
        data = opened.with_images(shots + opened.protocol.queries).data
        records = opened.protocol.records(data, shots)[: self.rounds]
        used = np.unique(data.item_image[np.concatenate([records.support, records.query], 1)])
        bank = banks.load_bank(data, opened.config.canvas, used.tolist())
        cut = jax.jit(lambda bank, *row: opened.view.episode(bank, *row))
        episodes = [
            cut(bank, records.support[i : i + 1], records.query[i : i + 1, :1])
            for i in range(len(records))
        ]
        apply = jax.jit(opened.model.apply)
        variables = jax.device_put(opened.variables)

        def call(index: int) -> None:
            episode = episodes[index % len(episodes)]
            images = (episode.support_image, episode.support_mask, episode.query_image)
            jax.block_until_ready(apply(variables, *images))

        return call

    def table(self, measured: dict) -> str:
        """Markdown."""
        rows = measured["rows"]
        reference = {r["column"]: r["seconds"] for r in rows if r["row"] == self.reference}
        head = ("method", "shots", "median", "quartiles", f"of {self.reference}'s", "published")
        cells = []
        for row in rows:
            low, high = row["quartiles"]
            published = "" if row["published"] is None else f"{row['published']:.2f}"
            cells.append(
                (
                    row["row"],
                    row["column"],
                    f"{row['seconds']:.4f}",
                    f"{low:.4f} to {high:.4f}",
                    f"{row['seconds'] / reference[row['column']]:.1f} x",
                    published,
                )
            )
        lines = ["## Seconds an episode", "", str(Table(head, cells))]
        lines += [
            "",
            f"Median of {measured['rounds']} episodes, one at a time; {provenance_line(measured)}. "
            "Published: on a Titan X.",
            "",
        ]
        return "\n".join(lines)


def measure(calls: list[Callable[[int], None]], rounds: int) -> list[list[float]]:
    """Seconds of each call in each round, all compiled and warmed up before; they take turns."""
    with tqdm(total=len(calls) + rounds, desc="time", unit="round") as bar:
        for call in calls:
            for index in range(1 + WARM_UP):
                call(index)
            bar.update()
        seconds: list[list[float]] = [[] for _ in calls]
        for index in range(rounds):
            for call, times in zip(calls, seconds, strict=True):
                before = time.perf_counter()
                call(index)
                times.append(time.perf_counter() - before)
            bar.update()
    return seconds
