"""Reads pickles of nested dictionaries of NumPy arrays, executing nothing of them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from fss_jax.weights.reading import blaming

_KINDS = "fiub"  # floating point, integers, booleans: never objects


class _Array:
    """What NumPy's pickles rebuild an array with: an empty one whose state follows."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError("an array that holds Python objects")
        values = np.frombuffer(data, dtype.value)
        self.value = values.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    def __init__(self, code: str, *_: Any) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in _KINDS:
            raise ValueError(f"an array of type {str(code)[:20]!r}")

    def __setstate__(self, state: tuple) -> None:
        # (version, byte order, and what only structured types have)
        if len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("an array of a structured type")
        self.value = self.value.newbyteorder(state[1])


def _rebuilt(*_: Any) -> _Array:
    return _Array()


class _NdArray:
    """Stands for the class numpy.ndarray, an argument of `_reconstruct` that is not called."""

    def __init__(self, *_: Any) -> None:
        raise ValueError("calls numpy.ndarray itself")


_NAMES = {("numpy", "ndarray"): _NdArray, ("numpy", "dtype"): _Dtype} | {
    (f"numpy.{core}.multiarray", "_reconstruct"): _rebuilt for core in ("core", "_core")
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise ValueError(
                f"its pickle asks for {f'{module}.{name}'[:80]!r}; only NumPy arrays in dictionaries "
                "are accepted (nothing was executed)"
            )
        return _NAMES[module, name]

    def persistent_load(self, _: Any) -> Any:
        raise ValueError("its pickle refers to something outside it")


def _arrays(found: Any, at: str = "") -> Any:
    if isinstance(found, _Array) and found.value is not None:
        return found.value
    if isinstance(found, dict) and all(isinstance(name, str) for name in found):
        return {name: _arrays(value, f"{at}/{name}") for name, value in found.items()}
    raise ValueError(f"entry {at[:80] or '/'} is a {type(found).__name__}, not an array")


def read_arrays(path: str | Path) -> dict[str, Any]:
    """The nested dictionary of arrays (read-only) that a pickle holds.

    Raises:
      FileNotFoundError; ValueError with one line for anything else than such a dictionary.
    """
    path = Path(path)
    with blaming(path, "pickle of arrays"):
        with path.open("rb") as file:
            try:
                found = _Unpickler(file).load()
            except pickle.UnpicklingError as error:
                raise ValueError(str(error)) from None
        if not isinstance(found, dict):
            raise ValueError(f"holds a {type(found).__name__}, expected a dictionary")
        return _arrays(found)
