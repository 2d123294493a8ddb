"""Methods by name. Each has `condition(support) -> task` and `segment(task, query) -> logits`."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import weak_annotation
from fss_jax.methods.canet import CANet
from fss_jax.methods.cosegment import CoSegmentation
from fss_jax.methods.finetune import FineTuning
from fss_jax.methods.fitted import Fitted
from fss_jax.methods.guided import GuidedNetwork
from fss_jax.methods.logistic import LinearClassifier
from fss_jax.methods.nearest import NearestNeighbor
from fss_jax.methods.oslsm import OSLSM
from fss_jax.methods.panet import PANet
from fss_jax.methods.relation import RelationNetwork
from fss_jax.methods.siamese import Siamese
from fss_jax.runtime.devices import AXIS

METHODS: dict[str, type[nn.Module]] = {
    "canet": CANet,
    "cosegment": CoSegmentation,
    "finetune": FineTuning,
    "fitted": Fitted,
    "guided": GuidedNetwork,
    "logistic": LinearClassifier,
    "nearest": NearestNeighbor,
    "oslsm": OSLSM,
    "panet": PANet,
    "relation": RelationNetwork,
    "siamese": Siamese,
}

# Co-segmentation and `fitted` learn nothing; the others classify what training.base_network has learned.
UNTRAINED = ("cosegment", "finetune", "fitted", "logistic", "nearest")

# These multiply or mix pixels with the mask itself; the others leave undecided pixels (-1) out.
DENSE_ONLY = ("canet", "oslsm", "relation")


def takes_undecided(model: nn.Module) -> bool:
    """Whether a method leaves undecided pixels of a support's mask (-1) out."""
    return not isinstance(model, tuple(METHODS[name] for name in DENSE_ONLY))


def check_annotation(method: str, annotation: str) -> None:
    """Raises ValueError if the method cannot be shown such annotation (of `weak.KINDS`)."""
    if annotation not in weak_annotation.KINDS:
        raise _unknown("annotation", annotation, weak_annotation.KINDS)
    if method in DENSE_ONLY and annotation in ("points", "scribble"):
        able = ", ".join(sorted(set(METHODS) - set(DENSE_ONLY)))
        raise ValueError(
            f"{method} knows dense masks only, and {annotation} leave pixels undecided; use "
            f"--annotation mask or box, or a method of {able}"
        )


def _unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"unknown {what} {name!r}: {hint}choose one of {', '.join(known)}")


def build(
    method: str, /, known: Mapping[str, type[nn.Module]] = METHODS, **fields: Any
) -> nn.Module:
    """The method of this name; `fields` are the attributes of its class.

    Args:
      known: the classes to choose from.

    Raises:
      ValueError: an unknown method or field; the message lists the known ones.
    """
    if method not in known:
        raise _unknown("method", method, known)
    own = {f.name for f in dataclasses.fields(known[method])} - {"parent", "name"}
    for name in fields:
        if name not in own:
            raise _unknown(f"field of method {method!r}", name, own)
    return known[method](**{name: _frozen(value) for name, value in fields.items()})


def build_from(config: ConfigDict, known: Mapping[str, type[nn.Module]] = METHODS) -> nn.Module:
    """A config's method, computing in its dtype, with batch statistics shared by the devices.

    `config.remat`, which older checkpoints' configs lack, changes only the memory of training.
    """
    fields = config.model.to_dict() | {"dtype": jnp.dtype(config.dtype), "axis_name": AXIS}
    if config.get("remat", False):
        fields["remat"] = True
    return build(config.method, known, **fields)


def init_variables(model: nn.Module, config: ConfigDict) -> dict[str, Any]:
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
