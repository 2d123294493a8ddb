"""Caffe's VGG-16 (ILSVRC), AlexNet, FCN-32s, and OSLSM's released snapshots: names and importer."""

from pathlib import Path

import numpy as np

from fss_jax.weights.caffe_files import read_caffe
from fss_jax.weights.layouts import Imported, conv_kernel, dense_kernel
from fss_jax.weights.torchvision import VGG16_CONVS

TAKES = "arch"

# fss_jax has Caffe's own layer names, so a table is only needed for OSLSM's two branches, whose
# names end in f (first image: the conditioning branch) and s (second image: segmentation).
ARCHITECTURES = ("vgg16", "alexnet", "fcn32s", "oslsm")
RELEASED = {"oslsm": "oslsm"}  # the methods whose weights were released whole
_BRANCHES = {"f": "conditioning", "s": "segmentation"}
_HASHES = ("rw1s", "rb1s")  # fixed inner products on fc8f, which give w and b
_UPSAMPLING = ("upscore", "uppred_offset")  # fixed transposed convolutions
_FC6 = {"alexnet": 6}  # cells along the map that fc6 takes; of VGG-16 seven
_LANDMARKS = {"oslsm": (), "alexnet": ("conv1", "conv5")}


def layers(arch: str) -> list[str]:
    """Names of the layers with weights in an architecture's file."""
    convs = [f"conv{b}_{n}" for b, count in enumerate(VGG16_CONVS, 1) for n in range(1, count + 1)]
    if arch == "alexnet":
        return [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7", "fc8"]
    if arch == "vgg16":
        return [*convs, "fc6", "fc7", "fc8"]
    if arch == "fcn32s":
        return [*convs, "fc6", "fc7", "score_fr", "upscore"]
    both = [name + suffix for name in (*convs, "fc6", "fc7") for suffix in _BRANCHES]
    return [*both, "fc8f", *_HASHES, "uppred_offset"]


def _kernel(name: str, weight: np.ndarray, arch: str) -> np.ndarray:
    """A weight blob as a linen kernel; V1 files write an inner product as (1, 1, out, in)."""
    if weight.ndim == 4 and weight.shape[:2] == (1, 1):
        weight = weight[0, 0]
    if weight.ndim not in (2, 4):
        raise ValueError(f"layer {name}: its weights have shape {weight.shape}")
    if weight.ndim == 4:
        return conv_kernel(weight)
    return dense_kernel(weight, _FC6.get(arch, 7) if name == "fc6" else 1)


def _hash(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hash that a matrix [out, in] applies: y[i] = zeta[i] x[kappa[i]] (OSLSM 4.1).

    Raises ValueError for any other than one +1 or -1 in each row; the initial model that OSLSM
    distributed has zeros only.
    """
    if not matrix.any():
        raise ValueError(
            "all zero: the file was never given its hash (like OSLSM's distributed initial model)"
        )
    kappa = np.argmax(np.abs(matrix), axis=1)
    zeta = matrix[np.arange(len(matrix)), kappa]
    wrong = np.flatnonzero((np.count_nonzero(matrix, axis=1) != 1) | (np.abs(zeta) != 1))
    if wrong.size:
        raise ValueError(f"{wrong.size} of {len(matrix)} rows are not a single +1 or -1")
    return kappa.astype(np.int32), zeta.astype(np.int8)


def _check_bilinear(weight: np.ndarray) -> None:
    """ValueError unless a transposed convolution interpolates bilinearly, each channel by itself."""
    out, channels, size, _ = weight.shape
    line = 1.0 - np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
    expected = np.eye(out, channels)[:, :, None, None] * np.outer(line, line)
    if weight.shape[2] != weight.shape[3] or not np.allclose(weight, expected, atol=1e-3):
        raise ValueError("not the bilinear interpolation that fss_jax computes in its place")


def load(path: Path, arch: str) -> Imported:
    """Imports a .caffemodel.

    Args:
      path: the file.
      arch: 'vgg16', 'alexnet' or 'fcn32s' for a backbone, 'oslsm' for a whole released snapshot: both
        branches and its hash, as the tables kappa and zeta.

    Raises:
      FileNotFoundError; ValueError: an unknown architecture, a file that is no such thing.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"caffe:{arch}: unknown; choose one of {', '.join(ARCHITECTURES)}")
    leaves, faults = {}, {}
    for name, blobs in read_caffe(path).items():
        weight, biases = blobs[0], blobs[1:]
        try:
            if name in _UPSAMPLING:
                _check_bilinear(weight)
            elif name in _HASHES and arch == "oslsm":
                if any(bias.any() for bias in biases):
                    raise ValueError("its bias is not zero")
                kappa, zeta = _hash(weight.reshape(weight.shape[-2:]))
                leaves[f"hash/hashing/{name}/kappa"] = kappa
                leaves[f"hash/hashing/{name}/zeta"] = zeta
            else:
                layer, branch = name, ""
                if arch == "oslsm" and name[-1:] in _BRANCHES:
                    layer, branch = name[:-1], _BRANCHES[name[-1]] + "/"
                leaves[f"params/{branch}{layer}/kernel"] = _kernel(layer, weight, arch)
                if biases:
                    leaves[f"params/{branch}{layer}/bias"] = biases[0].reshape(-1)
        except ValueError as error:
            collection = "hash/hashing" if name in _HASHES else "params"
            faults[f"{collection}/{name}"] = str(error)
    landmarks = _LANDMARKS.get(arch, ("conv1_1", "conv5_3"))
    return Imported(leaves, "caffe", landmarks, faults)
