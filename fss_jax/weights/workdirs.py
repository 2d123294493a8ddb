"""Starts from another run: the best checkpoint of its workdir."""

from pathlib import Path

from flax import traverse_util

from fss_jax.runtime import checkpoints
from fss_jax.weights.layouts import Imported

NAME = "workdir"


def load(path: Path) -> Imported:
    """The parameters and other collections of a workdir's best checkpoint: a whole method.

    Raises:
      FileNotFoundError: no checkpoint there.
      checkpoints.Damaged: none that is as it was saved.
    """
    found = checkpoints.load(path)
    leaves = traverse_util.flatten_dict(found.variables, sep="/")
    return Imported(leaves, found.config.model.preprocessing)
