"""Starts from another run: the best checkpoint of its workdir."""

from pathlib import Path

from flax import traverse_util

from fss_jax.runtime import checkpoints
from fss_jax.weights.layouts import Imported


def load(path: Path) -> Imported:
    """The parameters and other collections of a workdir's best checkpoint: a whole method.

    Raises:
      FileNotFoundError: no checkpoint there.
    """
    folder = checkpoints.checkpoint_folder(path)
    config, _ = checkpoints.load_meta(folder)
    leaves = traverse_util.flatten_dict(checkpoints.load_variables(folder), sep="/")
    return Imported(leaves, config.model.preprocessing)
