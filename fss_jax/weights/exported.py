"""fss_jax's own weights as one .safetensors file with PyTorch's names and layouts, out and back in.

Paths become dotted names, kernels [height, width, in, out] become weights [out, in, height, width],
BatchNorm's scale, mean and var become weight, running_mean and running_var; any other collection
('hash') keeps its names. Nothing is rounded, so what comes back is equal bit for bit.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from fss_jax.weights.layouts import Imported, torch_leaves
from fss_jax.weights.reading import blaming, need

NAME = "fss_jax"

_COLLECTIONS = ("params", "batch_stats")
_NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _torch_name(path: str, leaf: np.ndarray) -> tuple[str, np.ndarray]:
    collection, _, rest = path.partition("/")
    if collection not in _COLLECTIONS:
        return f"{collection}/{rest.replace('/', '.')}", leaf
    layer, _, name = rest.rpartition("/")
    if name == "kernel":
        leaf = np.moveaxis(leaf, (-1, -2), (0, 1))
    return f"{layer}/{_NAMES.get(name, name)}".replace("/", ".").lstrip("."), leaf


def save(path: Path, variables: Mapping[str, Any], preprocessing: str, **about: str) -> None:
    """Writes a model's variables as a torch-style .safetensors file, atomically.

    Args:
      path: the file; overwritten.
      variables: collections of arrays.
      preprocessing: the name in imaging.PREPROCESSING that they were trained with.
      about: further text for the file's metadata (method, configuration).
    """
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    named = dict(_torch_name(key, np.asarray(leaf)) for key, leaf in flat.items())
    tensors = {name: np.array(leaf, order="C") for name, leaf in named.items()}
    metadata = {**about, "format": "fss_jax", "preprocessing": preprocessing}
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(need("safetensors.numpy").save(tensors, metadata))
    os.replace(partial, path)


def load(path: Path) -> Imported:
    """Imports what `save` wrote: a whole method.

    Raises:
      FileNotFoundError; ValueError: a damaged file, or a .safetensors of another origin.
    """
    with blaming(path, "safetensors file"):
        library = need("safetensors")
        try:
            with library.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}
        except library.SafetensorError as error:
            raise ValueError(str(error)) from None
        if metadata.get("format") != "fss_jax":
            raise ValueError(
                "not written by fss_jax.export.stablehlo (a torchvision file? torchvision:ARCH:FILE)"
            )
    others = {name: state.pop(name) for name in list(state) if "/" in name}
    leaves = torch_leaves(state, {}, {})
    leaves |= {name.replace(".", "/"): array for name, array in others.items()}
    return Imported(leaves, metadata.get("preprocessing", ""))
