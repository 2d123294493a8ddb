"""The small model that comes with the package, so that labelling works right after the install.

`config.json`, `weights.npz` (half precision) and `calibration.json` lie beside this file. They were
trained only on pictures that the project renders (oslsm/general). What writes them:
`fss ship --workdir runs/general`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from fss_jax.runtime import checkpoints, files
from fss_jax.scoring import calibration
from fss_jax.scoring.calibration import Calibration

FOLDER = Path(__file__).parent


def load(folder: Path = FOLDER) -> tuple[ConfigDict, dict[str, Any], Calibration | None]:
    """(config, variables in float32, calibration) of the model.

    Raises:
      FileNotFoundError: an installation without it.
    """
    try:
        config = ConfigDict(json.loads((folder / "config.json").read_text()))
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            flat = {name: _single(file[name]) for name in file.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"this installation holds no model ({error.filename}); name a training's folder with "
            "--workdir"
        ) from error
    variables = traverse_util.unflatten_dict(flat, sep="/")
    return config, variables, calibration.load(folder / calibration.FILE)


def save(folder: Path, config: ConfigDict, variables: Any) -> None:
    """Writes what `load` reads. Parameters are rounded to half precision."""
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    halves = {
        name: np.asarray(leaf, np.float16 if name.startswith("params/") else None)
        for name, leaf in flat.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "weights.npz", **halves)
    (folder / "config.json").write_text(config.to_json(indent=1) + "\n")


def ship(workdir: Path, folder: Path = FOLDER) -> dict[str, int]:
    """Writes what `load` reads of a workdir's best checkpoint; returns its step and the files' bytes.

    Raises:
      ValueError, FileNotFoundError: no checkpoint, or none that was calibrated.
    """
    found = checkpoints.load(workdir)
    known = calibration.load(workdir / calibration.FILE, found.step)
    if known is None:
        raise ValueError(
            f"{workdir} has no calibration of step {found.step}: run fss calibrate --workdir {workdir}"
        )
    found.config.data_dir = "data"  # not of the machine that trained it
    save(folder, found.config, found.variables)
    files.write_json(folder / calibration.FILE, known.to_json())
    return {"step": known.step, "bytes": sum(p.stat().st_size for p in folder.glob("*.*"))}


def _single(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf
