"""A method's backbone from its fields: features at every cell, or one answer for a whole image."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from fss_jax.methods import backbones
from fss_jax.methods.layers import Conv, cells

OWN = {"blocks": None, "norm": "none", "remat": False}  # fields that few backbones take


class Pooled(nn.Module):
    """A classifier of a whole image on any trunk: the mean of its last map, then fc8.

    Attributes:
      trunk: returns (map, named maps).
      outputs: of fc8, which has no ReLU.
      dtype: compute type of fc8.
    """

    trunk: nn.Module
    outputs: int
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "*b 1 1 outputs"], dict[str, Array]]:
        x, maps = self.trunk(x, train=train)
        x = x.mean((-3, -2), keepdims=True)
        return Conv(self.outputs, 1, dtype=self.dtype, name="fc8")(x), maps


def layout(method: nn.Module) -> cells.Geometry:
    """How the cells of a method's features lie over an image: its fields backbone and geometry.

    Raises:
      ValueError: an unknown backbone or geometry.
    """
    stride = backbones.get(method.backbone, "fcn", "covering").stride
    return cells.geometry(method.geometry, stride)


def build_backbone(method: nn.Module, *, dense: bool = True, **own: Any) -> nn.Module:
    """The backbone that the fields of a method describe.

    Args:
      method: fields backbone, geometry, blocks, norm, width, hidden, fc6_size, dropout, dtype,
        axis_name, and remat if it has one.
      dense: features at every cell of an image; else one classifier's output for the whole image,
        where fc6 takes its map as it is.
      own: fields of the backbone itself, such as outputs, stride and pad.

    Raises:
      ValueError: an unknown backbone; `hidden` other than the channels of a backbone that has a
        fixed number; blocks, norm or remat for a backbone that takes none; a geometry that a backbone
        without fully convolutional form cannot have.
    """
    name = method.backbone
    backbone = backbones.get(name, "fcn", "covering")
    if "hidden" not in backbone.takes and method.hidden != backbone.channels:
        raise ValueError(
            f"backbone {name!r} has {backbone.channels} features: set hidden to that, not to "
            f"{method.hidden}"
        )
    given = {field: getattr(method, field, usual) for field, usual in OWN.items()}
    usual = OWN | {"blocks": type(method).blocks}
    if any(given[field] != usual[field] for field in OWN if field not in backbone.takes):
        raise ValueError(f"backbone {name!r} takes no blocks, norm or remat: leave them out")
    shared = {"width": method.width, "dtype": method.dtype}
    if dense and (method.geometry == cells.COVERING or not backbone.fcn):
        if method.geometry != cells.COVERING or not backbone.covering:
            raise ValueError(
                f"backbone {name!r} with geometry {method.geometry!r}: its cells lie over the image "
                f"in one way only; set geometry to {_other(backbone)}"
            )
        more = {field: own[field] for field in own if field not in ("outputs", "stride", "pad")}
        if given["remat"]:
            more["remat"] = True
        return backbone.covering(**shared, axis_name=method.axis_name, **more)
    if not backbone.fcn:
        trunk = backbone.covering(**shared, axis_name=method.axis_name)
        return Pooled(trunk, own["outputs"], method.dtype)
    fields = shared | {"dropout": method.dropout}
    fields |= {f: getattr(method, f, OWN.get(f)) for f in backbone.takes if f != "fc6_size"}
    if dense and backbone.fc6_map:
        fields["fc6_size"] = method.fc6_size or backbone.fc6_map
    return backbone.fcn(**fields | own)


def _other(backbone: backbones.Backbone) -> str:
    known = sorted(set(cells.GEOMETRIES) if backbone.fcn else {cells.COVERING})
    return ", ".join(known)
