"""Makes labels better from the masks that you corrected.

  fss correct --support five/ --images photos/ --out labels/
  fss correct --support five/ --images photos/ --out labels/ --workdir runs/mine

Correct some masks where they lie, in OUT/masks, with any editor (saving one unchanged accepts it).
This command then says which masks of the support look wrong, takes the corrected ones into the
support, says what that gained on the images that have a mask, each predicted without its own, labels
all others again, and lists in OUT/refine.csv, and prints, what to correct next. It can be repeated.
"""

import argparse

from fss_jax.commands import label
from fss_jax.runtime import config_flags

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    label.add_job_flags(parser)


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling import corrections, job

    try:
        for line in corrections.refine(*job.open_job(given, config_flags.read(given))):
            print(line)
    except KeyboardInterrupt as stopped:
        stopped.args = (label.STOPPED,)
        raise
