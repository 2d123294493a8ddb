"""Puts a trained and calibrated workdir's best checkpoint into the package; see the package's text."""

import argparse
import json
from pathlib import Path

from fss_jax.labelling import shipped
from fss_jax.runtime import checkpoints, files, messages
from fss_jax.scoring import calibration


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fss_jax.labelling.shipped", description=__doc__
    )
    parser.add_argument("--workdir", type=Path, required=True, help="trained and calibrated")
    parser.add_argument("--out", type=Path, default=shipped.FOLDER, help="default: the package")
    arguments = parser.parse_args(argv)
    try:
        found = checkpoints.load(arguments.workdir)
        config = found.config
        known = calibration.load(arguments.workdir / calibration.FILE, found.step)
        if known is None:
            raise ValueError(
                f"{arguments.workdir} has no calibration of step {found.step}: run "
                f"python -m fss_jax.studies.calibrate --workdir {arguments.workdir}"
            )
        config.data_dir = "data"  # not of the machine that trained it
        shipped.save(arguments.out, config, found.variables)
        files.write_json(arguments.out / calibration.FILE, known.to_json())
        size = sum(path.stat().st_size for path in arguments.out.glob("*.*"))
        print(json.dumps({"step": known.step, "bytes": size}))
    except (ValueError, OSError) as error:
        messages.fail(error)


if __name__ == "__main__":
    main()
