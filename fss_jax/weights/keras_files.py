"""Reads Keras' .h5 weight files, as keras.applications publishes them."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from fss_jax.weights import hdf5_child
from fss_jax.weights.reading import blaming, need

SECONDS = 20  # of computing, and a minute more for every GB
MEMORY = 2**30  # bytes, and three times the file's size


def read_keras(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Reads the layers of a Keras .h5 file that have weights, in a child process (see `hdf5_child`).

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
        need("h5py")
        layers = _received(_child(path))
        if not layers:
            raise ValueError("no layer with weights in it")
        return layers


def _child(path: Path) -> bytes:
    """What the child wrote. ValueError if it crashed, or needed too much."""
    size = path.stat().st_size
    seconds = SECONDS + 60 * size // 2**30
    command = [sys.executable, "-P", hdf5_child.__file__, str(path), str(seconds)]
    command.append(str(MEMORY + 3 * size))
    # A pool of threads would take its share of the memory before anything is read.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        # On a busy machine a second of computing may take many.
        done = subprocess.run(
            command, capture_output=True, timeout=10 * seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took more than {10 * seconds} s") from None
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
        raise ValueError(f"reading it took more than {seconds} s of computing, or too much memory")
    if done.returncode < 0:
        crash = signal.Signals(-done.returncode).name
        raise ValueError(f"damaged: the HDF5 library crashed at it ({crash})")
    if done.returncode:
        raise ValueError(f"it could not be read: {done.stderr.decode(errors='replace')[-200:]}")
    return done.stdout


def _received(said: bytes) -> dict[str, list[np.ndarray]]:
    line, _, data = said.partition(b"\n")
    head = json.loads(line)
    if "error" in head:
        if head["error"] == "ValueError":
            raise ValueError(head["text"])
        raise OSError(f"{head['error']}: {head['text']}")
    layers, at = {}, 0
    for layer, kinds in head["layers"].items():
        layers[layer] = []
        for name, shape in kinds:
            dtype, count = np.dtype(name), math.prod(shape)
            layers[layer].append(np.frombuffer(data, dtype, count, at).reshape(shape))
            at += count * dtype.itemsize
    return layers
