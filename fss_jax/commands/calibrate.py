"""Teaches a trained method how good its masks are likely to be.

  fss calibrate --workdir runs/mine
  fss calibrate --workdir runs/mine --dataset pascal_5i/fold1
  fss calibrate --workdir runs/1nn --config nearest/vgg16

Fits curves from the network's confidence to IoU on the validation classes, for each number of
supports, writes them beside the checkpoints (WORKDIR/calibration.json, where `fss label` finds them),
and measures them on the test classes: WORKDIR/results/calibration.json, .md and .png hold the
expected calibration error (ECE) and a reliability diagram, of the raw and the calibrated confidence.
--dataset measures on another dataset's test classes, and leaves calibration.json as it is. With
--config it is of the weights that its init names, and WORKDIR takes the results.
"""

import argparse

from fss_jax.runtime import arguments, config_flags, messages

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    config_flags.add(parser)
    arguments.add(
        parser, "--shots", nargs="+", default=(), help="numbers of supports; otherwise 1 5"
    )
    arguments.add(parser, "--episodes", default=500)
    arguments.add(parser, "--checkpoint", "--data_dir", "--dataset", "--canvas")


def run(given: argparse.Namespace) -> None:
    from fss_jax.reports import page as pages
    from fss_jax.studies import calibrate

    messages.use_compilation_cache()
    names = ("workdir", "episodes", "checkpoint", "data_dir", "dataset", "canvas")
    settings = {name: getattr(given, name) for name in names} | {"config": config_flags.read(given)}
    result = calibrate.calibrate(shots=tuple(given.shots), **settings)
    print(pages.text(calibrate.page(result), result))
