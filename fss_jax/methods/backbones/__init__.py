"""The networks that methods stand on, found by name: each file of this folder declares its own.

A file ends with `BACKBONES`, a dict from the names that configs use to a `Backbone`. No list has to be
edited; `FSS_JAX_METHODS=FOLDER` adds the files of FOLDER/backbones (see fss_jax.methods). A method
asks for the form that it needs, and can stand on every backbone that has it:

    squeezenet1_0 = backbones.get("squeezenet1_0", "covering")
    encoder = squeezenet1_0.covering(width=1.0, dtype=jnp.float32)   # returns (map, {name: map})
"""

import dataclasses
import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from fss_jax.runtime.names import unknown

__path__ += [  # what `import` and the search below look through
    str(Path(folder, "backbones"))
    for folder in os.environ.get("FSS_JAX_METHODS", "").split(os.pathsep)
    if folder
]


@dataclasses.dataclass(frozen=True)
class Tail:
    """The last layers of a network, which may be tuned by themselves.

    Attributes:
      layers: their names; a name alone is a module, several are layers side by side in the head.
      without: fields with which the network ends before them.
      head: (method) -> a module of these layers alone, from what comes before them.
    """

    layers: tuple[str, ...]
    without: Mapping[str, Any]
    head: Callable[[nn.Module], nn.Module]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network and the forms it comes in; a form that is None it has not.

    Every form returns (last map, named maps), [*b, rows, cols, c] from [*b, h, w, 3], and takes
    train=. Builders take keywords: `width` multiplies channels (a network of fixed width raises
    ValueError for others than 1), `dtype` computes, `batch_norm` says which statistics normalize (see
    layers.BatchNorm) over which `axis_name`; those that a network has no use for are ignored.

    Attributes:
      network: () -> the network with its classifier, as its weights are published.
      stride: pixels per cell of the last map.
      channels: of the last map at width 1.
      preprocessing: what its usual weights expect, a key of imaging.PREPROCESSING.
      covering: (width, dtype, axis_name) -> the trunk, with cells over the whole image as if it were
        cut into squares: cell i's middle is (i + 1/2) strides. A module whose cells lie otherwise
        says where the first one's middle is, in pixels (`first_center`).
      compared: names of `covering`'s maps that are good to compare as they are, finest first.
      middle: (width, dtype, batch_norm, axis_name) -> the trunk up to the maps `middle_maps`, which
        have one size: features between edges and classes, for comparing with.
      pyramid: (width, dtype, batch_norm, axis_name, remat, source) -> the trunk for an encoder that
        reads further channels beside the colors, its strides dividing the image exactly down to
        32; `source` is the framework whose weights it is for.
      skips: names of the pyramid's last maps of stride 16, 8, 4, 2 and 1; None where it has none.
      levels: (width, dtype, axis_name) -> the trunk as its classifier has it, for comparing maps of
        several layers before their ReLU, whose names are `level_maps`: groups of one size, finest
        first.
      dense: (width, dtype, axis_name) -> the trunk at stride 8, dilated instead of strided beyond,
        its last map without the last ReLU.
      fcn: (width, dropout, dtype, outputs, stride, pad, and `takes`) -> the network as a classifier
        of the whole image, or with other strides and paddings than its own, as FCNs have.
      takes: fields of a method that `fcn` takes as well.
      fc6_map: cells along the map that a 224 pixel image leaves for fc6; 0: it has no fc6.
      tail: of `fcn`.
      toy: fields of a method with which this network is small, for methods that have all of them.
      compiles_slowly: about a minute at any width.
    """

    network: Callable[[], nn.Module]
    stride: int
    channels: int
    preprocessing: str = "torchvision"
    covering: Callable[..., nn.Module] | None = None
    compared: tuple[str, ...] = ()
    middle: Callable[..., nn.Module] | None = None
    middle_maps: tuple[str, ...] = ()
    pyramid: Callable[..., nn.Module] | None = None
    skips: tuple[str | None, ...] = ()
    levels: Callable[..., nn.Module] | None = None
    level_maps: tuple[tuple[str, ...], ...] = ()
    dense: Callable[..., nn.Module] | None = None
    fcn: Callable[..., nn.Module] | None = None
    takes: tuple[str, ...] = ()
    fc6_map: int = 0
    tail: Tail | None = None
    toy: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compiles_slowly: bool = False


@functools.cache
def table() -> dict[str, Backbone]:
    """All backbones by name; the files are read once."""
    found: dict[str, Backbone] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").BACKBONES
    return found


def get(name: str, *forms: str) -> Backbone:
    """The backbone of this name.

    Args:
      forms: names of forms, of which it must have one.

    Raises:
      ValueError: no such backbone, or none that has such a form; the message lists those that do.
    """
    fits = {n: b for n, b in table().items() if not forms or any(getattr(b, f) for f in forms)}
    if name in table() and name not in fits:
        raise ValueError(
            f"backbone {name!r} has no form that this method needs ({' or '.join(forms)}): choose one "
            f"of {', '.join(sorted(fits))}"
        )
    if name not in fits:
        raise unknown("backbone", name, fits)
    return fits[name]


def of_one_width(
    make: Callable[..., nn.Module], *, width=1.0, axis_name=None, **fields
) -> nn.Module:
    """A form of a network whose width is fixed, and which normalizes by no batch.

    Raises:
      ValueError: another width than 1.
    """
    if width != 1.0:
        raise ValueError(f"width {width}: this backbone has one width, 1")
    return make(**fields)


def first_center(module: nn.Module, stride: int) -> float:
    """Where the middle of a form's first cell lies, in pixels from the first pixel."""
    return getattr(module, "first_center", (stride - 1) / 2)
