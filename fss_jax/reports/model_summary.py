"""What a method is made of and what it costs, by shape evaluation alone: no weights are made."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from fss_jax.methods import build_from
from fss_jax.runtime.flops import macs_by_scope

Row = tuple[str, str, int, int]  # layer, output shapes, parameters, MACs
NATIVE_SIZE = 500  # pixels; stands for queries of their own size: the longer side in PASCAL VOC


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


def describe(config: ConfigDict) -> str:
    """A method's layers, output shapes, parameters and GFLOP of an episode, as text.

    Nothing is computed, so it takes seconds for a model of any size. Read of the config are method,
    model, shots, queries, support_size and query_size.
    """
    query_size = config.query_size or NATIVE_SIZE
    episode = episode_shapes(
        shots=config.shots,
        queries=config.queries,
        support_size=config.support_size,
        query_size=query_size,
    )
    model = build_from(config)
    variables = variable_shapes(model, episode)
    rows = layer_rows(model, variables, episode)
    condition, segment = macs_of_halves(model, variables, episode)

    name_width = max(len(row[0]) for row in rows)
    shape_width = max(len(row[1]) for row in rows)
    lines = [
        f"{config.method}: {config.shots} support of {config.support_size} px, "
        f"{config.queries} query of {query_size} px"
        + ("" if config.query_size else " (in place of each image's own size)"),
        f"{'layer':{name_width}}  {'output':{shape_width}}  {'parameters':>12}  {'GMAC':>8}",
    ]
    for name, shape, parameters, macs in rows:
        lines.append(
            f"{name:{name_width}}  {shape:{shape_width}}  {parameters:12,}  {macs / 1e9:8.3f}"
        )
    parts = Counter()
    for module, tree in variables["params"].items():
        parts[re.sub(r"(_\d+)+$", "", module)] += count(tree)
    lines += [f"parameters of {part}: {number:,}" for part, number in parts.items()]
    lines.append(f"parameters: {count(variables['params']):,}")
    for collection in sorted(set(variables) - {"params"}):
        lines.append(f"not trained, {collection}: {count(variables[collection]):,}")
    gflop = [2 * macs / 1e9 for macs in (condition, segment)]
    lines.append(
        f"GFLOP per episode: {sum(gflop):.1f} (condition {gflop[0]:.1f}, segment {gflop[1]:.1f}); "
        f"training about {3 * sum(gflop):.1f}"
    )
    return "\n".join(lines)
