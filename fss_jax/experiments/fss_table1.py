"""FSS-1000's Table 1 and Figure 1: images of each class, in FSS-1000 and in older datasets."""

import dataclasses
import json
from pathlib import Path

from data_builders import stats
from fss_jax.experiments import toy
from fss_jax.experiments.runner import Experiment, Part
from fss_jax.reports.page import Table
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import files

DATASETS = (
    "fss_1000/standard",
    "pascal_5i/fold0_trainaug",
    "coco_20i/fold0",
    "fs_pascal/fold0",
    "fs_coco/fold0",
)


@dataclasses.dataclass(frozen=True)
class ImagesPerClass(Part):
    """The four statistics of each dataset, and their distributions with unit area.

    Attributes:
      datasets: NAME/CONFIG; those that are not prepared are named and left out.
    """

    datasets: tuple[str, ...]

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Counts, writes WORKDIR/NAME.{json,png}, and returns the table.

        Raises:
          FileNotFoundError: none of the datasets is prepared.
        """
        prepared = stats.prepared(Path(data_dir))
        there = [dataset for dataset in self.datasets if dataset in prepared]
        if not there:
            stats.choose(Path(data_dir), [self.datasets[0]])  # says what to do
        results = {dataset: stats.statistics(prepared[dataset]) for dataset in there}
        facts = {"datasets": results, **provenance()}
        files.write_text(workdir / f"{name}.json", json.dumps(facts, indent=1))
        with files.atomic(workdir / f"{name}.png") as temporary:
            temporary.write_bytes(stats.plot(results))
        rows = []
        for dataset, splits in results.items():
            per = splits["all"]["images_per_class"]
            counts = (splits["all"]["classes"], f"{per['mean']:.2f}", f"{per['std']:.2f}")
            rows.append((dataset, *counts, per["min"], per["max"]))
        head = ("dataset", "classes", "mean", "deviation", "least", "most")
        parts = [str(Table(head, rows)), f"![{name}]({name}.png)"]
        missing = [dataset for dataset in self.datasets if dataset not in there]
        if missing:
            parts.append(f"Not prepared in {data_dir}: {', '.join(missing)}.")
        return "\n\n".join([*parts, f"{provenance_line(facts)}."]) + "\n"

    def shrink(self) -> "ImagesPerClass":
        return dataclasses.replace(self, datasets=(toy.DATASET,))


EXPERIMENT = Experiment(
    title="FSS-1000 Table 1 and Figure 1: images of each class",
    notes="Published: arXiv 1907.12347, Table 1 and Figure 1; FSS-1000's row is 10, 0, 10, 10 by "
    "construction. The figure: classes by rank, each dataset with unit area. The prepared datasets are "
    "counted whole: training and test classes, and an image once for each class that it shows.",
    trainings=(),
    scorings=(),
    parts=(ImagesPerClass(DATASETS),),
)
