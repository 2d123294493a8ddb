"""Keras' own ImageNet weights (keras.applications): name tables and importer of their .h5 files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fss_jax.methods.backbones.resnet import STAGES as RESNET_STAGES
from fss_jax.weights.keras_files import read_keras
from fss_jax.weights.layouts import Imported
from fss_jax.weights.torchvision import TABLES as TORCHVISION
from fss_jax.weights.torchvision import VGG16_CONVS, inception_units

TAKES = "arch"


class Table(NamedTuple):
    """One architecture.

    Attributes:
      names: our layer path by Keras' layer name, given all names in the file.
      preprocessing: what keras.applications feeds it.
      epsilon: of its BatchNorm, and of ours.
    """

    names: Callable[[list[str]], dict[str, str]]
    preprocessing: str
    epsilon: tuple[float, float] = (0.0, 0.0)


def _vgg16(_: list[str]) -> dict[str, str]:
    names = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}
    for block, convs in enumerate(VGG16_CONVS, start=1):
        for conv in range(1, convs + 1):
            names[f"block{block}_conv{conv}"] = f"conv{block}_{conv}"
    return names


def _resnet(depth: int) -> dict[str, str]:
    names = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc", "probs": "fc"}
    for stage, blocks in enumerate(RESNET_STAGES[depth], start=1):
        for block in range(blocks):
            source, target = f"conv{stage + 1}_block{block + 1}", f"layer{stage}_{block}"
            for n in (1, 2, 3):
                names[f"{source}_{n}_conv"] = f"{target}/conv{n}"
                names[f"{source}_{n}_bn"] = f"{target}/bn{n}"
            if block == 0:
                names[f"{source}_0_conv"] = f"{target}/downsample_conv"
                names[f"{source}_0_bn"] = f"{target}/downsample_bn"
    return names


def _inception(found: list[str]) -> dict[str, str]:
    """Keras numbers InceptionV3's layers as they are made: conv2d, conv2d_1, conv2d_2, ..."""
    names = {"predictions": "fc"}
    for kind, leaf in (("conv2d", "conv"), ("batch_normalization", "bn")):
        numbered = [name for name in found if re.fullmatch(rf"{kind}(_\d+)?", name)]
        numbered.sort(key=lambda name: int(name[len(kind) + 1 :] or 0))
        names |= {
            name: f"{unit}/{leaf}" for name, unit in zip(numbered, inception_units(), strict=False)
        }
    return names


TABLES = {
    "vgg16": Table(_vgg16, "vgg"),
    "resnet50": Table(lambda _: _resnet(50), "vgg", (1.001e-5, 1e-5)),
    "resnet101": Table(lambda _: _resnet(101), "vgg", (1.001e-5, 1e-5)),
    "inception_v3": Table(_inception, "tf", (1e-3, 1e-3)),
}


def _kernel(layer: str, kernel: np.ndarray) -> np.ndarray:
    """A kernel as a convolution's; Keras flattens a map as we do, so fc6 needs no re-ordering."""
    if layer == "fc6" and kernel.ndim == 2 and kernel.shape[0] % 49 == 0:
        return kernel.reshape(7, 7, -1, kernel.shape[1])
    return kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)


def load(path: Path, arch: str) -> Imported:
    """Imports a weights file of keras.applications, with or without its top.

    A ResNet of Keras has a bias in each convolution, which goes into the BatchNorm that follows
    (mean - bias), and another epsilon, which goes into the variance: both exactly. Two things are
    the model's: ResNet(stride_first=True) and InceptionV3(count_border=False).

    Raises:
      FileNotFoundError; ValueError: an architecture without a table, a file that is no such thing.
    """
    if arch not in TABLES:
        raise ValueError(f"keras:{arch}: unknown; choose one of {', '.join(TABLES)}")
    layers = read_keras(path)
    table = TABLES[arch]
    names = table.names(list(layers))
    leaves = {}
    for source, arrays in layers.items():
        layer = names.get(source, source)
        if arrays[0].ndim > 1:
            leaves[f"params/{layer}/kernel"] = _kernel(layer, arrays[0])
            if len(arrays) > 1:
                leaves[f"params/{layer}/bias"] = arrays[1]
        elif len(arrays) in (3, 4):
            *scale, bias, mean, var = arrays  # InceptionV3 has no scale
            leaves[f"params/{layer}/scale"] = scale[0] if scale else np.ones_like(bias)
            leaves[f"params/{layer}/bias"] = bias
            leaves[f"batch_stats/{layer}/mean"] = mean
            leaves[f"batch_stats/{layer}/var"] = var + (table.epsilon[0] - table.epsilon[1])
        else:
            raise ValueError(f"{path}: layer {source!r} has {len(arrays)} vectors, expected 3 or 4")
    for conv, norm in [(p, p.replace("conv", "bn")) for p in names.values() if "conv" in p]:
        mean, bias = f"batch_stats/{norm}/mean", f"params/{conv}/bias"
        if mean in leaves and bias in leaves:
            leaves[mean] = leaves[mean] - leaves.pop(bias)
    return Imported(leaves, table.preprocessing, TORCHVISION[arch].landmarks)
