"""Reads a Keras .h5 file in a process of its own: the HDF5 library crashes or loops at some damage.

Started as a script by `keras_files`, with limits of time and memory; imports nothing of fss_jax, which
takes longer than reading. Writes a line of JSON and then the bytes of the arrays.
"""

import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

NUMBERS = "fiub"  # kinds of dtypes


def names(attributes: Mapping[str, Any], key: str) -> list[str]:
    """A list of strings from HDF5 attributes; Keras splits long ones into key0, key1, ..."""
    if key in attributes:
        values = list(attributes[key])
    else:
        values, part = [], 0
        while f"{key}{part}" in attributes:
            values += list(attributes[f"{key}{part}"])
            part += 1
        if not part:
            raise ValueError(f"no attribute {key!r}: not a weights file of Keras 1 or 2 (.h5)")
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def read(path: str) -> dict[str, list[np.ndarray]]:
    """Arrays by layer, as `keras_files.read_keras` returns them."""
    import h5py

    layers = {}
    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file
        for layer in names(root.attrs, "layer_names"):
            arrays = []
            for name in names(root[layer].attrs, "weight_names"):
                dataset = root[layer][name]
                # A data set can claim any shape without holding it; Keras stores plainly.
                if dataset.id.get_storage_size() != dataset.nbytes:
                    raise ValueError(f"{name!r} is compressed or not all in the file")
                array = np.ascontiguousarray(dataset)
                if array.dtype.kind not in NUMBERS:
                    raise ValueError(f"{name!r} holds {array.dtype}, not numbers")
                arrays.append(array.reshape(dataset.shape))
            if arrays:
                layers[layer] = arrays
    return layers


def main(path: str, seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    layers = {}
    try:
        layers = read(path)
        head = {n: [[a.dtype.str, a.shape] for a in some] for n, some in layers.items()}
        said = {"layers": head}
    except Exception as error:
        said = {"error": type(error).__name__, "text": " ".join(str(error).split())[:300]}
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n")
    for some in layers.values():
        for array in some:
            sys.stdout.buffer.write(array.tobytes())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
