"""Measures prepared datasets: images, classes, sizes of objects.

  fss datasets
  fss datasets fss_1000 pascal_5i/fold0 --data_dir data --out stats

Writes OUT/stats.md, stats.json and images_per_class.png. NAME is a dataset, all of whose prepared
configs are taken, or NAME/CONFIG; without any, everything that is prepared is compared.
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments

GROUP = "data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME[/CONFIG]")
    arguments.add(parser, "--data_dir", default="data")
    arguments.add(parser, "--out", default="stats")


def run(given: argparse.Namespace) -> None:
    from data_builders import stats

    print(stats.compare(Path(given.data_dir), given.names, Path(given.out)))
