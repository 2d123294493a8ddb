"""Reads Keras' .h5 weight files, as keras.applications publishes them."""

from pathlib import Path

import numpy as np

from fss_jax.weights.reading import blaming, need


def _names(attributes, key: str) -> list[str]:
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


def read_keras(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Reads the layers of a Keras .h5 file that have weights.

    Args:
      path: a file of `save_weights` or `save` in Keras' HDF5 layout: a group a layer, whose
        attribute `weight_names` gives the order.

    Returns:
      By layer name its arrays in Keras' order (kernel HWIO, bias; or gamma, beta, mean, variance).

    Raises:
      FileNotFoundError; ValueError with one line for anything else.
    """
    path = Path(path)
    with blaming(path, "Keras weights file"):
        h5py = need("h5py")
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            layers = {}
            for layer in _names(root.attrs, "layer_names"):
                names = _names(root[layer].attrs, "weight_names")
                arrays = []
                for name in names:
                    dataset = root[layer][name]
                    # A data set can claim any shape without holding it; Keras stores plainly.
                    if dataset.id.get_storage_size() != dataset.nbytes:
                        raise ValueError(f"{name!r} is compressed or not all in the file")
                    arrays.append(np.asarray(dataset))
                if arrays:
                    layers[layer] = arrays
        if not layers:
            raise ValueError("no layer with weights in it")
        return layers
