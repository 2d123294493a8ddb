"""A model's variables as files of a bounded size in half precision, and back in one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from fss_jax.weights import exported

HALF = 2  # bytes of a float16


def _pieces(variables: Mapping[str, Any], most: int):
    """(name, rows from, rows) of the leaves in pieces of at most `most` bytes, flat and in float16."""
    for name, leaf in sorted(traverse_util.flatten_dict(dict(variables), sep="/").items()):
        leaf = np.asarray(leaf)
        flat = leaf.ravel()
        flat = flat.astype(np.float16) if flat.dtype == np.float32 else flat
        each = max(1, most // flat.itemsize)
        for start in range(0, max(1, flat.size), each):
            yield name, leaf.shape, start, flat[start : start + each]


def split(variables: Mapping[str, Any], stem: Path, most: int, **about: str) -> list[Path]:
    """Writes STEM.000.npz and so on, each of at most `most` bytes; returns them.

    Args:
      variables: collections of arrays; float32 is rounded to float16.
      about: what `join` needs to make a usable file (preprocessing, method, config).
    """
    room = most - 64 * 1024  # for the archive's own
    parts: list[dict[str, np.ndarray]] = [{}]
    shapes, filled = {}, 0
    for name, shape, start, piece in _pieces(variables, room // 64):
        shapes[name] = list(shape)
        if filled + piece.nbytes > room:
            parts.append({})
            filled = 0
        parts[-1][f"{name}@{start}"] = piece
        filled += piece.nbytes
    head = json.dumps({"shapes": shapes, "parts": len(parts), **about})
    parts[0]["@about"] = np.frombuffer(head.encode(), np.uint8)
    paths = [stem.with_name(f"{stem.name}.{number:03d}.npz") for number in range(len(parts))]
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path, part in zip(paths, parts, strict=True):
        np.savez(path, **part)
    return paths


def join(stem: Path, out: Path) -> None:
    """Makes of `split`'s files one that --init fss_jax:OUT takes.

    Raises:
      ValueError: there are none, or not all of them.
    """
    pieces, about = {}, {}
    paths = sorted(stem.parent.glob(f"{stem.name}.[0-9][0-9][0-9].npz"))
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                if key == "@about":
                    about = json.loads(file[key].tobytes())
                else:
                    name, _, start = key.rpartition("@")
                    pieces.setdefault(name, {})[int(start)] = file[key]
    if len(paths) != about.get("parts", -1):
        raise ValueError(f"{stem}.NNN.npz: {len(paths)} parts of {about.get('parts', 'unknown')}")
    shapes = about.pop("shapes")
    about.pop("parts")
    flat = {}
    for name, found in pieces.items():
        leaf = np.concatenate([found[start] for start in sorted(found)]).reshape(shapes[name])
        flat[name] = leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf
    exported.save(out, traverse_util.unflatten_dict(flat, sep="/"), **about)
