"""The FSS-1000 release's two files: names and importer.

Its encoder is torchvision's vgg16_bn with the first convolution taken out of the list and made anew
for four channels, so every other index is one less; BatchNorm momentum, masks and sums are the
relation network's matter (protocols.md B.1).
"""

from pathlib import Path

from fss_jax.weights.layouts import Imported, torch_leaves
from fss_jax.weights.torch_files import read_torch
from fss_jax.weights.torchvision import vgg16

FILES = ("feature_encoder.pkl", "relation_network.pkl")
RELEASED = "relation"  # the method whose weights they are


def encoder_names() -> dict[str, str]:
    """Layers of feature_encoder.pkl."""
    names = {"layer1.0": "encoder/conv1_1"}
    for source, layer in vgg16(batch_norm=True).items():
        part, index = source.split(".")
        if part == "features" and index != "0":
            names[f"features.{int(index) - 1}"] = f"encoder/{layer}"
    return names


def relation_names() -> dict[str, str]:
    """Layers of relation_network.pkl: two relation convolutions, then five decoder blocks."""
    names = {}
    units = [(f"layer{n}", 0, f"relation_{n - 1}") for n in (1, 2)]
    for block in range(5):
        units.append((f"double_conv{block + 1}", 0, f"decoder_{block}_0"))
        if block < 4:
            units.append((f"double_conv{block + 1}", 3, f"decoder_{block}_1"))
    for source, index, unit in units:
        names[f"{source}.{index}"] = f"{unit}/conv"
        names[f"{source}.{index + 1}"] = f"{unit}/bn"
    return names | {"double_conv5.3": "score"}


def load(path: Path) -> Imported:
    """Imports a folder with feature_encoder.pkl and relation_network.pkl into the released form.

    Raises:
      FileNotFoundError; ValueError: a file that is no state_dict.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; it should hold {' and '.join(FILES)}")
    leaves = torch_leaves(read_torch(path / FILES[0]), encoder_names(), {})
    leaves |= torch_leaves(read_torch(path / FILES[1]), relation_names(), {})
    return Imported(leaves, "unit")
