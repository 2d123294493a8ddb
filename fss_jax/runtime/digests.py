"""What a checkpoint's arrays were when they were saved, so that damage is found and not computed with.

The checkpoint's metadata holds dtype, shape and SHA-256 of every array, and of itself a SHA-256.
"""

import hashlib
import json
from typing import Any

import jax
import numpy as np

_ARRAYS, _SEAL = "arrays", "sha256"


class Damaged(ValueError):
    """A checkpoint that is not as it was saved; the message names its path and what is damaged."""


def describe(tree: Any) -> dict[str, list]:
    """{'params/fc/kernel': [dtype, shape, SHA-256 of its bytes]} of all arrays in a tree."""
    return {name: [*_kind(leaf), _sha256(leaf)] for name, leaf in _named(tree).items()}


def seal(meta: dict, tree: Any) -> dict:
    """Metadata with the digests of a tree's arrays and of itself."""
    meta = json.loads(json.dumps(meta | {_ARRAYS: describe(tree)}))
    return meta | {_SEAL: _of_json(meta)}


def unseal(meta: Any) -> tuple[dict, dict[str, list] | None]:
    """Metadata as it was before `seal`, and the digests; None for one from before there were any.

    Raises:
      ValueError: it is not what was sealed.
    """
    if not isinstance(meta, dict) or not isinstance(meta.get("config"), dict):
        raise ValueError("it holds no config")
    if not {_ARRAYS, _SEAL} & meta.keys():
        return meta, None
    meta = dict(meta)
    said = meta.pop(_SEAL, None)
    if said != _of_json(meta):
        raise ValueError("its text is not what was saved (SHA-256)")
    return meta, meta.pop(_ARRAYS)


def same_kinds(tree: Any, digests: dict[str, list], within: tuple[str, ...] = ()) -> None:
    """Raises ValueError unless a tree's names, dtypes and shapes are those of the digests.

    Args:
      within: first parts of the names to look at ('params'); none for all.
    """
    have = {name: _kind(leaf) for name, leaf in _named(tree).items()}
    want = {name: known[:2] for name, known in digests.items() if _is_in(name, within)}
    for name in sorted(have.keys() | want.keys()):
        if have.get(name) != want.get(name):
            parts = (_said(kinds.get(name)) for kinds in (have, want))
            raise ValueError("{} is {}, expected {}".format(name, *parts))


def same_bytes(tree: Any, digests: dict[str, list]) -> None:
    """Raises ValueError that names every array whose bytes are not those that were saved."""
    wrong = [name for name, leaf in _named(tree).items() if _sha256(leaf) != digests[name][2]]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"not what was saved (SHA-256): {', '.join(wrong[:3])}{more}")


def _named(tree: Any) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _is_in(name: str, within: tuple[str, ...]) -> bool:
    return not within or name.partition("/")[0] in within


def _kind(leaf: Any) -> list:
    return [np.dtype(leaf.dtype).name, list(leaf.shape)]


def _said(kind: list | None) -> str:
    return "missing" if kind is None else f"{kind[0]} {tuple(kind[1])}"


def _sha256(leaf: Any) -> str:
    flat = np.ascontiguousarray(leaf).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8) if flat.size else b"").hexdigest()


def _of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
