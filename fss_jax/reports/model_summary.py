"""What a method is made of and what it costs, by shape evaluation alone: no weights are made."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from fss_jax.runtime.flops import macs_by_scope

Row = tuple[str, str, int, int]  # layer, output shapes, parameters, MACs


def episode_shapes(
    *, shots: int, queries: int, support_size: int, query_size: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Support images, support masks and query images of one episode; sizes in pixels."""
    support = (1, shots, support_size, support_size)
    shapes = (*support, 3), support, (1, queries, query_size, query_size, 3)
    return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)


def variable_shapes(model: nn.Module, episode: tuple[jax.ShapeDtypeStruct, ...]) -> Any:
    """The collections that `model.init` would make, as shapes."""
    return jax.eval_shape(model.init, jax.random.key(0), *episode)


def count(tree: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def macs_of_halves(
    model: nn.Module, variables: Any, episode: tuple[jax.ShapeDtypeStruct, ...]
) -> tuple[int, int]:
    """MACs of `condition` and of `segment` for one episode."""

    def condition(variables, *support):
        return model.apply(variables, *support, method="condition")

    def segment(variables, task, query):
        return model.apply(variables, task, query, method="segment")

    *support, query = episode
    task = jax.eval_shape(condition, variables, *support)
    return (
        macs_by_scope(condition, variables, *support).total(),
        macs_by_scope(segment, variables, task, query).total(),
    )


def layer_rows(
    model: nn.Module, variables: Any, episode: tuple[jax.ShapeDtypeStruct, ...]
) -> list[Row]:
    """One row for each module that owns parameters, in the order of the forward pass.

    MACs outside all of them (a product of predicted weights, upsampling) end in a row '(other)'.
    """

    def outputs(*args):
        _, state = model.apply(*args, capture_intermediates=True, mutable=["intermediates"])
        return state["intermediates"]

    called = _by_module(jax.eval_shape(outputs, variables, *episode), "__call__")
    owners = Counter()
    for path, leaf in flatten_dict(variables["params"]).items():
        owners["/".join(path[:-1])] += leaf.size
    macs = Counter()
    for scope, number in macs_by_scope(model.apply, variables, *episode).items():
        macs[_owner(scope, owners)] += number
    order = [name for name in macs if name] + [name for name in owners if name not in macs]
    rows = [(name, called.get(name, ""), owners[name], macs[name]) for name in order]
    return rows + ([("(other)", "", 0, macs[""])] if macs[""] else [])


def _by_module(intermediates: Mapping[str, Any], method: str) -> dict[str, str]:
    """Output shapes by module path; a module that runs on several inputs has several."""
    shapes = {}
    for path, calls in flatten_dict(intermediates).items():
        if path[-1] == method:
            seen = dict.fromkeys("x".join(map(str, leaf.shape)) for leaf in jax.tree.leaves(calls))
            shapes["/".join(path[:-1])] = ", ".join(seen)
    return shapes


def _owner(scope: str, owners: Mapping[str, int]) -> str:
    """The module path inside a name scope such as 'OSLSM/OSLSM.condition/conditioning/conv1_1'."""
    parts = [part for part in scope.split("/")[1:] if "." not in part]
    for end in range(len(parts), 0, -1):
        if "/".join(parts[:end]) in owners:
            return "/".join(parts[:end])
    return ""
