"""The same queries answered by several networks, pictured (FSS-1000, Figure 7)."""

import dataclasses
from pathlib import Path

from fss_jax.experiments import toy
from fss_jax.experiments.runner import Part, Scoring
from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies import conditioning
from fss_jax.studies.conditioning import Asker, Panel

ROWS = 12


@dataclasses.dataclass(frozen=True)
class SideBySide(Part):
    """A row for a class of each super-category: its first support, a query, and each answer to it.

    Attributes:
      scorings: their `row` is the answer's caption.
    """

    scorings: tuple[Scoring, ...]

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Draws WORKDIR/NAME_pictures.png, unless it is there."""
        path = workdir / f"{name}_pictures.png"
        if not path.is_file():
            rows: list[list[Panel]] = []
            for one in self.scorings:
                for at, (shown, answer) in enumerate(_answers(one, data_dir, workdir)):
                    if at == len(rows):
                        rows.append(shown)
                    rows[at].append(answer)
            conditioning.draw(path, rows)
        return f"![the same queries, answered by each]({path.name})\n"

    def shrink(self) -> "SideBySide":
        return dataclasses.replace(self, scorings=tuple(map(toy.shrink_scoring, self.scorings)))


def _answers(
    scoring: Scoring, data_dir: str | Path, workdir: Path
) -> list[tuple[list[Panel], Panel]]:
    """For each picked episode its support and query, and the network's answer."""
    settings = dict(scoring.settings)
    shots = settings.pop("shots")
    for unused in ("episodes", "trivial"):
        settings.pop(unused, None)
    opened = open_workdir(workdir / scoring.training, data_dir=str(data_dir), **settings)
    opened = opened.with_images(shots + opened.protocol.queries)
    records = opened.protocol.records(opened.data, shots)
    of_class = dict(zip(records.class_id.tolist(), range(len(records)), strict=True))
    first_of: dict[
        str, int
    ] = {}  # super-category -> episode; of a dataset without, class -> episode
    for class_id, row in of_class.items():
        names = opened.data.super_categories.get(class_id, (opened.data.class_names[class_id],))
        first_of.setdefault(names[0], row)
    asker, found = Asker(opened), []
    for row in list(first_of.values())[:ROWS]:
        episode = asker.episode(records.support[row].tolist(), int(records.query[row, 0]))
        support = episode.support_image[0, 0], episode.support_mask[0, 0] > 0
        shown = [
            Panel(
                *support, asker.name(int(records.support[row, 0])), conditioning.SUPPORT_COLOR, True
            ),
            Panel(
                episode.query_image[0, 0],
                episode.query_mask[0, 0] > 0,
                "truth",
                conditioning.TRUTH_COLOR,
            ),
        ]
        answer = asker.answered(episode, asker.mask(episode))
        note = f"{scoring.row.removeprefix('trained on ')}: {answer.note}"
        found.append((shown, dataclasses.replace(answer, note=note)))
    return found
