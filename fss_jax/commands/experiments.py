"""Reproduces a published table or figure, ours beside theirs.

  fss experiments oslsm_table1 --data_dir data --out runs/table1
  fss experiments fss_table5 --small
  fss experiments all --toy --out runs/toy --data_dir runs/toy/data

Trains what is missing, resumes what was stopped, scores what has no score yet, and writes OUT/NAME.md:
ours beside the published numbers. --small is the size that two CPU cores train in minutes, where an
experiment has such a form; its page is OUT/NAME_small.md. --toy runs all of it in a minute or so, on a
few glyph classes with tiny networks: its numbers mean nothing.
"""

import argparse
from pathlib import Path

from fss_jax.runtime import arguments, messages

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help="an experiment, or all; without it, a list", nargs="?"
    )
    arguments.add(parser, "--data_dir", default="data")
    arguments.add(
        parser, "--out", default="runs", help="one folder for each training, and the pages"
    )
    arguments.renamed(parser, "--workdir", "--out")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="for two CPU cores")
    size.add_argument("--toy", action="store_true", help="tiny, to see that it runs")


def run(given: argparse.Namespace) -> None:
    from fss_jax import experiments
    from fss_jax.experiments import runner, toy

    if given.name is None:
        print("\n".join(experiments.EXPERIMENTS))
        return
    chosen = experiments.get(given.name, given.small)
    messages.use_compilation_cache()
    if given.toy:
        toy.prepare(given.data_dir)
    for name, experiment in chosen:
        if given.toy:
            experiment = toy.shrink(experiment)
        print(runner.run(name, experiment, given.data_dir, Path(given.out)))
