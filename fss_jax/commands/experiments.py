"""Reproduces a published table or figure, ours beside theirs.

  fss experiments oslsm_table1 --data_dir data --out runs/table1
  fss experiments fss_table5 --small
  fss experiments fss_figure10 --support my/five --images my/photos
  fss experiments oslsm_table1 --checkpoint best
  fss experiments all --toy --out runs/toy --data_dir runs/toy/data

Trains what is missing, resumes what was stopped, scores what has no score yet, and writes OUT/NAME.md:
ours beside the published numbers. --small is the size that two CPU cores train in minutes, where an
experiment has such a form; its page is OUT/NAME_small.md. --toy runs all of it in a minute or so, on a
few glyph classes with tiny networks: its numbers mean nothing. --checkpoint scores every trained method
at the end of its training (latest) or at the best by validation, in place of each paper's own rule.
--support and --images are for the figures on given images, 10, 11 and S3. A published batch runs on
any number of --devices, with the same updates; those that cannot share it stay idle, and are named.
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
    arguments.add(parser, "--support", "--images")  # of the figures on given images
    arguments.add(parser, "--checkpoint", default=None)
    arguments.add(parser, "--devices")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="for two CPU cores")
    size.add_argument("--toy", action="store_true", help="tiny, to see that it runs")


def run(given: argparse.Namespace) -> None:
    from fss_jax import experiments
    from fss_jax.experiments import given_images, runner, toy
    from fss_jax.runtime import devices

    if given.name is None:
        print("\n".join(experiments.EXPERIMENTS))
        return
    if (given.support is None) != (given.images is None):
        raise ValueError("--support and --images go together: one of them is missing")
    chosen = experiments.get(given.name, given.small)
    messages.use_compilation_cache()
    devices.use(given.devices)
    if given.toy:
        toy.prepare(given.data_dir)
    for name, experiment in chosen:
        if given.toy:
            experiment = toy.shrink(experiment)
        if given.images:
            experiment = given_images.given(experiment, given.support, given.images)
        if given.checkpoint:
            name = f"{name}_{given.checkpoint}"
            experiment = runner.by_checkpoint(experiment, given.checkpoint)
        print(runner.run(name, experiment, given.data_dir, Path(given.out)))
