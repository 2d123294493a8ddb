"""The backbones of OSLSM and of the methods on dense features, built from one set of fields."""

from typing import Any

import flax.linen as nn

from fss_jax.methods.backbones import vgg
from fss_jax.methods.backbones.alexnet import AlexNet
from fss_jax.methods.backbones.squeezenet import FEATURES as SQUEEZENET_FEATURES
from fss_jax.methods.backbones.squeezenet import SqueezeNet

# With the map, in cells, that a 224 pixel image leaves for fc6; SqueezeNet has no fc6.
BACKBONES = {"vgg16": (vgg.VGG, 7), "alexnet": (AlexNet, 6), "squeezenet1_0": (SqueezeNet, 0)}


def build_backbone(method: nn.Module, *, dense: bool = True, **own: Any) -> nn.Module:
    """The backbone that the fields of a method describe.

    Args:
      method: fields backbone, blocks, norm, width, hidden, fc6_size, dropout, dtype, axis_name, and
        remat if it has one.
      dense: features at every cell of an image; else one classifier's output for the whole image,
        where fc6 takes its map as it is.
      own: fields of the backbone itself, such as outputs, stride and pad.

    Raises:
      ValueError: an unknown backbone; SqueezeNet with other than its 512 features; blocks, norm or
        remat for another backbone than vgg16.
    """
    name, remat = method.backbone, getattr(method, "remat", False)
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    kind, classifier_map = BACKBONES[name]
    fields = {"width": method.width, "dropout": method.dropout, "dtype": method.dtype}
    if classifier_map:
        fields["hidden"] = method.hidden
        if dense:
            fields["fc6_size"] = method.fc6_size or classifier_map
    elif method.hidden != SQUEEZENET_FEATURES:
        raise ValueError(
            f"backbone {name!r} has {SQUEEZENET_FEATURES} features: set hidden to that, not to "
            f"{method.hidden}"
        )
    if name == "vgg16":
        fields |= {"blocks": method.blocks, "norm": method.norm, "axis_name": method.axis_name}
        fields["remat"] = remat
    elif method.blocks != vgg.VGG16 or method.norm != "none" or remat:
        raise ValueError(f"backbone {name!r} takes no blocks, norm or remat: leave them out")
    return kind(**fields | own)
