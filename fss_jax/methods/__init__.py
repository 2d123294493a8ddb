"""The methods: each file of this folder is one, found by its name, and ends with `METHOD = ItsClass`.

    model = methods.build("oslsm", width=0.25)
    task = model.apply(variables, support_image, support_mask, method="condition")
    logits = model.apply(variables, task, query_image, method="segment")

A file is imported only when its method is asked for, and what is special about a method it declares
itself (fss_jax.methods.contract). So a new method is one file, and a config that names it. It need not
lie in the package:

    FSS_JAX_METHODS=my_methods fss train --config my_methods/configs/mean_color.py --workdir runs/mine

takes my_methods/NAME.py for the method NAME, and my_methods/backbones/*.py for further backbones;
several folders have `:` between them. Set it, too, where a checkpoint of such a method is
used. A file with the name of one of the package's methods is not looked at.
"""

import dataclasses
import importlib
import os
import pkgutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import weak_annotation
from fss_jax.methods import backbones
from fss_jax.methods.contract import Method
from fss_jax.runtime.devices import AXIS
from fss_jax.runtime.names import unknown

EARLIER = {"base": "fcn"}  # what checkpoints and configs of earlier versions call a method

__path__ += [folder for folder in os.environ.get("FSS_JAX_METHODS", "").split(os.pathsep) if folder]


def names() -> list[str]:
    """All methods, ascending; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def get(name: str) -> type[Method]:
    """The class of a method, which says what is special about it.

    Raises:
      ValueError: an unknown method; the message proposes the nearest name and lists all. A file that
        names no class.
    """
    name = EARLIER.get(name, name)
    if name not in names():
        raise unknown("method", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "METHOD"):
        raise ValueError(
            f"{module.__file__} does not say which class the method is: add METHOD = ..."
        )
    return module.METHOD


def taking_undecided() -> list[str]:
    """The methods that leave undecided pixels of a support's mask (-1) out."""
    few_shot = [name for name in names() if get(name).few_shot]
    return [name for name in few_shot if get(name).takes_undecided]


def check_annotation(method: str, annotation: str) -> None:
    """Raises ValueError if the method cannot be shown such annotation (of `weak.KINDS`)."""
    if annotation not in weak_annotation.KINDS:
        raise unknown("annotation", annotation, weak_annotation.KINDS)
    if annotation in ("points", "scribble") and not get(method).takes_undecided:
        raise ValueError(
            f"{method} knows dense masks only, and {annotation} leave pixels undecided; use "
            f"--annotation mask or box, or a method of {', '.join(taking_undecided())}"
        )


def fields(kind: type[Method]) -> set[str]:
    """Names of what a config's `model` may set."""
    return {f.name for f in dataclasses.fields(kind)} - {"parent", "name"}


def build(method: str, /, **given: Any) -> Method:
    """The method of this name; `given` are the fields of its class.

    Raises:
      ValueError: an unknown method or field; the message lists the known ones.
    """
    kind = get(method)
    own = fields(kind)
    for name in given:
        if name not in own:
            raise unknown(f"field of method {method!r}", name, own)
    return kind(**{name: _frozen(value) for name, value in given.items()})


def build_from(config: ConfigDict) -> Method:
    """A config's method, computing in its dtype, with batch statistics shared by the devices.

    `config.remat`, which older checkpoints' configs lack, changes only the memory of training.
    """
    common = {"dtype": jnp.dtype(config.dtype), "axis_name": AXIS}
    own = fields(get(config.method))
    given = config.model.to_dict() | {name: common[name] for name in common if name in own}
    if config.get("remat", False):
        given["remat"] = True
    return build(config.method, **given)


def toy_fields(method: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields with which a method is small enough for tests, on the backbone it stands on.

    Args:
      model: the fields of a config, of which only the backbone counts.
    """
    kind = get(method)
    backbone = model.get("backbone", getattr(kind, "backbone", ""))
    of_backbone = backbones.get(backbone).toy if backbone else {}
    return {**kind.toy, **(of_backbone if set(of_backbone) <= fields(kind) else {})}


def init_variables(model: Method, config: ConfigDict) -> dict[str, Any]:
    """Fresh variables; batch statistics are those of a model that has seen nothing."""
    side = config.query_size or config.canvas
    support = jnp.zeros((1, config.shots, config.support_size, config.support_size, 3))
    query = jnp.zeros((1, config.queries, side, side, 3))
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    variables = jax.jit(model.init)(key, support, support[..., 0], query)
    variables.pop("losses", None)
    return variables


def _frozen(value: Any) -> Any:
    """Lists, which configs read back from JSON have, as the tuples that modules need."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
