"""Parameters of another run of train.py, whole: what a chain of trainings starts from."""

from pathlib import Path

import numpy as np
from flax import traverse_util

from fss_jax import checkpoints
from fss_jax.weights.layouts import Imported


def load(path: Path) -> Imported:
    """Imports the best checkpoint of a workdir, without its optimizer state.

    Raises:
      FileNotFoundError: the workdir holds no checkpoint.
    """
    folder = checkpoints.checkpoint_folder(path)
    leaves = traverse_util.flatten_dict(checkpoints.load_variables(folder), sep="/")
    config, _ = checkpoints.load_meta(folder)
    return Imported(
        {name: np.asarray(leaf) for name, leaf in leaves.items()}, config.model.preprocessing
    )
