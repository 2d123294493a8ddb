"""Multiply-accumulates (MAC) of a function, counted by tracing: no arrays are made, nothing runs.

1 MAC = 2 FLOP. Only convolutions and matrix products count, as in published tables.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def macs_by_scope(fn: Callable, *args: Any) -> Counter:
    """MACs of one call by name scope, 'Module/submodule/layer' inside flax modules.

    A convolution counts every tap of every output, padding included; zeros that the gradient of a
    strided convolution puts between its inputs are left out. Loops of fixed length count every turn,
    a `while` one turn, branches the costliest. Scopes come in the order in which they first compute
    something, those without a product too.

    Args:
      args: arrays or jax.ShapeDtypeStructs, in pytrees.
    """
    return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def gmacs(fn: Callable, *args: Any) -> float:
    """Billions of MACs of one call of `fn`; see macs_by_scope."""
    return macs_by_scope(fn, *args).total() / 1e9


def _count(jaxpr: Jaxpr) -> Counter:
    macs = Counter()
    for eqn in jaxpr.eqns:
        scope = str(eqn.source_info.name_stack)
        name = eqn.primitive.name
        macs[scope] += 0
        if name == "dot_general":
            macs[scope] += _dot_general(eqn)
        elif name == "conv_general_dilated":
            macs[scope] += _convolution(eqn)
        else:
            inner = [_count(sub) for sub in _subjaxprs(eqn.params)]
            if name == "cond":
                inner = [max(inner, key=Counter.total)]
            turns = eqn.params["length"] if name == "scan" else 1
            for sub in inner:
                for path, count in sub.items():
                    macs["/".join(filter(None, (scope, path)))] += turns * count
    return macs


def _subjaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _dot_general(eqn: Any) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution(eqn: Any) -> int:
    kernel = eqn.invars[1].aval.shape
    out_axis = eqn.params["dimension_numbers"].rhs_spec[0]
    taps = math.prod(kernel) // kernel[out_axis]  # input channels of a group times the window
    between = math.prod(eqn.params["lhs_dilation"])
    return math.prod(eqn.outvars[0].aval.shape) * taps // between
