"""torchvision's classifiers: name tables, and the importer of their .pth and .safetensors files."""

from pathlib import Path
from typing import NamedTuple

from fss_jax.methods.backbones.inception import BLOCKS as INCEPTION_BLOCKS
from fss_jax.methods.backbones.resnet import STAGES as RESNET_STAGES
from fss_jax.weights.layouts import Imported, torch_leaves
from fss_jax.weights.reading import sniff
from fss_jax.weights.torch_files import read_safetensors, read_torch

TAKES = "arch"

VGG16_CONVS = (2, 2, 3, 3, 3)  # of each block


class Table(NamedTuple):
    """One architecture: our layer path by torchvision's layer name, and what goes with it."""

    names: dict[str, str]
    landmarks: tuple[str, str]
    windows: dict[str, int]
    preprocessing: str = "torchvision"


def vgg16(batch_norm: bool = False) -> dict[str, str]:
    """features.N and classifier.N of vgg16 or vgg16_bn."""
    names, index = {}, 0
    for block, convs in enumerate(VGG16_CONVS, start=1):
        for conv in range(1, convs + 1):
            names[f"features.{index}"] = f"conv{block}_{conv}"
            if batch_norm:
                names[f"features.{index + 1}"] = f"bn{block}_{conv}"
            index += 3 if batch_norm else 2  # with the ReLU
        index += 1  # the pooling
    return names | {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}


def _alexnet() -> dict[str, str]:
    convs = {f"features.{index}": f"conv{n}" for n, index in enumerate((0, 3, 6, 8, 10), start=1)}
    return convs | {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}


def _resnet(depth: int) -> dict[str, str]:
    names = {name: name for name in ("conv1", "bn1", "fc")}
    for stage, blocks in enumerate(RESNET_STAGES[depth], start=1):
        for block in range(blocks):
            source, target = f"layer{stage}.{block}", f"layer{stage}_{block}"
            for layer in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
                names[f"{source}.{layer}"] = f"{target}/{layer}"
            if block == 0:
                names[f"{source}.downsample.0"] = f"{target}/downsample_conv"
                names[f"{source}.downsample.1"] = f"{target}/downsample_bn"
    return names


def inception_units() -> list[str]:
    """Paths of InceptionV3's convolution + BatchNorm pairs in the order that all sources build."""
    units = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    for block, branches in INCEPTION_BLOCKS.items():
        for branch in branches:
            for step in branch:
                if isinstance(step, str):  # a pooling
                    continue
                side_by_side = step if isinstance(step[0], tuple) else (step,)
                units += [f"{block}/{name}" for name, *_ in side_by_side]
    return units


def _inception() -> dict[str, str]:
    paths = [f"{unit}/{layer}" for unit in inception_units() for layer in ("conv", "bn")]
    return {path.replace("/", "."): path for path in paths} | {"fc": "fc"}


def _squeezenet() -> dict[str, str]:
    names = {"features.0": "conv1", "classifier.1": "conv10"}
    for fire, index in enumerate((3, 4, 5, 7, 8, 9, 10, 12), start=2):
        for layer in ("squeeze", "expand1x1", "expand3x3"):
            names[f"features.{index}.{layer}"] = f"fire{fire}/{layer}"
    return names


TABLES = {
    "vgg16": Table(vgg16(), ("conv1_1", "conv5_3"), {"fc6": 7}),
    "vgg16_bn": Table(vgg16(batch_norm=True), ("conv1_1", "conv5_3"), {"fc6": 7}),
    "alexnet": Table(_alexnet(), ("conv1", "conv5"), {"fc6": 6}),
    "resnet50": Table(_resnet(50), ("conv1", "layer1_0"), {}),
    "resnet101": Table(_resnet(101), ("conv1", "layer1_0"), {}),
    # Trained by TensorFlow on [-1, 1]; torchvision's own model converts what it is given to that.
    "inception_v3": Table(_inception(), ("Conv2d_1a_3x3", "Mixed_5b"), {}, "tf"),
    "squeezenet1_0": Table(_squeezenet(), ("conv1", "fire2"), {}),
}


def load(path: Path, arch: str) -> Imported:
    """Imports a state_dict of torchvision's `arch` from a .pth or .safetensors file.

    Raises:
      FileNotFoundError; ValueError: an architecture without a table, a file that is no such thing.
    """
    if arch not in TABLES:
        raise ValueError(f"torchvision:{arch}: unknown; choose one of {', '.join(TABLES)}")
    table = TABLES[arch]
    state = read_safetensors(path) if sniff(path) == "safetensors" else read_torch(path)
    leaves = torch_leaves(state, table.names, table.windows)
    return Imported(leaves, table.preprocessing, table.landmarks)
