"""Puts imported leaves into a model's variables, or says in one error why they do not fit."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fss_jax.weights.layouts import Imported


class Comparison(NamedTuple):
    """How a file's leaves meet a model's.

    Attributes:
      pairs: the file's leaf for each of the model's that can be loaded.
      problems: what stands against loading, by kind: missing, unexpected, mis-shaped, ...
    """

    pairs: dict[str, str]
    problems: dict[str, list[str]]


def _names(pattern: str, path: str) -> bool:
    """Whether a skip pattern names a leaf 'collection/layer/leaf': it, its ending, or above it."""
    rest = path.partition("/")[2]
    return any(
        fnmatch.fnmatchcase(candidate, form)
        for candidate in (path, rest)
        for form in (pattern, f"{pattern}/*", f"*/{pattern}", f"*/{pattern}/*")
    )


def _places(params: Mapping[str, Any], landmarks: tuple[str, ...], at: str = "") -> list[str]:
    """Paths (each ending in '/') of the subtrees of params in which all landmarks are layers."""
    if all(name in params for name in landmarks):
        return [at]
    below = ((n, node) for n, node in params.items() if isinstance(node, Mapping))
    return [place for name, node in below for place in _places(node, landmarks, f"{at}{name}/")]


def _fits(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Equal but for leading ones: a dense kernel [in, out] is also a 1x1 convolution's."""
    extra = len(shape) - array.ndim
    return (1,) * extra + array.shape == (1,) * -extra + tuple(shape)


def _shape(leaf: Any) -> str:
    return "x".join(map(str, leaf.shape)) or "scalar"


def compare(
    imported: Imported, variables: Mapping[str, Any], skip: Iterable[str] = ()
) -> Comparison:
    """Pairs the leaves of a file with those of a model.

    A backbone goes into every subtree of its architecture (both branches of OSLSM), a whole method
    into the root. Each leaf of the file must be used, and each leaf of those places must be given.

    Args:
      imported: what an importer made of a file.
      variables: collections of a model; shapes are enough (jax.eval_shape).
      skip: patterns of leaves that are not to be loaded: a layer or a path, or its ending, with *
        and ? ('fc8', 'encoder/conv1_1', 'hash', '*/bias').
    """
    leaves, faults, skip = imported.leaves, imported.faults, tuple(skip)

    def skipped(path: str) -> bool:
        return any(_names(pattern, path) for pattern in skip)

    model = traverse_util.flatten_dict(dict(variables), sep="/")
    wanted = {}
    for place in _places(variables["params"], imported.landmarks):
        for path in model:
            collection, _, rest = path.partition("/")
            if rest.startswith(place):
                wanted[path] = f"{collection}/{rest.removeprefix(place)}"
    if not wanted:
        layers = ", ".join(sorted(variables["params"]))
        found = ", ".join(imported.landmarks)
        return Comparison({}, {"no place": [f"the file has {found}, ...; the model {layers}"]})

    pairs, used = {}, set(wanted.values())
    problems = {kind: [] for kind in ("missing", "unexpected", "mis-shaped", "not finite")}
    for path, name in wanted.items():
        if skipped(path):
            continue
        if name in leaves and _fits(leaves[name], model[path].shape):
            pairs[path] = name
        elif name in leaves:
            theirs, ours = _shape(leaves[name]), _shape(model[path])
            problems["mis-shaped"].append(f"{path} is {theirs} in the file, {ours} in the model")
        elif not any(name.startswith(f"{fault}/") for fault in faults):
            problems["missing"].append(path)
    for name, leaf in leaves.items():
        if name not in used and not skipped(name):
            problems["unexpected"].append(f"{name} ({_shape(leaf)})")
        elif name in pairs.values() and not np.isfinite(leaf.astype(np.float32)).all():
            problems["not finite"].append(name)
    problems["unusable"] = [f"{p} ({why})" for p, why in faults.items() if not skipped(p)]
    problems["skipped but not there"] = [
        pattern
        for pattern in skip
        if not any(_names(pattern, path) for path in (*wanted, *leaves, *faults))
    ]
    return Comparison(pairs, {kind: names for kind, names in problems.items() if names})


def place(
    imported: Imported, variables: Mapping[str, Any], skip: Iterable[str], source: str
) -> dict[str, Any]:
    """Variables with the imported leaves in their places; nothing else changes. See `compare`.

    Raises:
      ValueError: naming (as `source`) the file, and every missing, unexpected and mis-shaped leaf,
        every leaf with a NaN or an infinity, every part that cannot be used, and every skip pattern
        that names nothing.
    """
    pairs, problems = compare(imported, variables, skip)
    if problems:
        told = ". ".join(f"{kind}: {'; '.join(names)}" for kind, names in problems.items())
        raise ValueError(
            f"{source} does not fit the model, nothing was loaded. {told}. "
            "To load the rest without some of these, name them in skip"
        )
    model = traverse_util.flatten_dict(dict(variables), sep="/")
    for path, name in pairs.items():
        leaf = model[path]
        model[path] = jnp.asarray(imported.leaves[name].reshape(leaf.shape), leaf.dtype)
    return traverse_util.unflatten_dict(model, sep="/")
