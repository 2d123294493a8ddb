"""Makes a training's best checkpoint the model that comes with the package.

  fss ship --workdir runs/general

For whoever makes a release: `fss label` without --workdir uses what this writes. The workdir has to be
calibrated (`fss calibrate`). Parameters are rounded to half precision.
"""

import argparse
import json
from pathlib import Path

from fss_jax.runtime import arguments

GROUP = "labelling"


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    arguments.add(parser, "--out", help="otherwise the package itself")


def run(given: argparse.Namespace) -> None:
    from fss_jax.labelling import shipped

    print(json.dumps(shipped.ship(Path(given.workdir), Path(given.out or shipped.FOLDER))))
