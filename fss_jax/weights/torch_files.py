"""Reads PyTorch's .pth / .pkl files and .safetensors without PyTorch.

Both layouts of `torch.save`: the zip archive (since 1.6) and the older sequence of pickles.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from fss_jax.weights.reading import blaming, need
from fss_jax.weights.torch_pickles import Tensor, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older layout

_SAFETENSORS = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F64": np.float64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def _array(tensor: Tensor, data: np.ndarray) -> np.ndarray:
    """The view of a storage's elements that a tensor describes, its bounds checked first."""
    offset, size, stride = tensor.offset, tuple(tensor.size), tuple(tensor.stride)
    numbers = (offset, *size, *stride)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride):
        raise ValueError(f"a tensor has offset {offset}, size {size}, stride {stride}")
    if math.prod(size) == 0:
        return np.zeros(size, data.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= data.size or math.prod(size) > data.size:
        raise ValueError(f"a tensor of shape {size} does not fit its storage of {data.size}")
    strides = [s * data.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(data[offset:], size, strides, writeable=False)


def _state_dict(found: Any) -> dict[str, Tensor]:
    """The name -> tensor dictionary in an unpickled object: itself, or its only such entry."""
    if not isinstance(found, dict):
        raise ValueError(f"holds a {type(found).__name__}, expected a state_dict")
    if not any(isinstance(value, Tensor) for value in found.values()):
        inner = [
            value
            for value in found.values()
            if isinstance(value, dict) and any(isinstance(v, Tensor) for v in value.values())
        ]
        if len(inner) != 1:
            keys = [str(key)[:40] for key in list(found)[:8]]
            raise ValueError(f"expected one state_dict, found {len(inner)} among its keys {keys}")
        found = inner[0]
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"entry {str(name)[:80]!r} is a {type(value).__name__}, not a tensor")
    # torch.nn.DataParallel puts its own name before all others.
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    return found


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip archive with {len(pickles)} data.pkl, expected one")
        root = pickles[0].removesuffix("data.pkl")

        def member(name: str) -> bytes:
            # PyTorch stores without compression; anything else could unpack to any size.
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name!r} is compressed, which PyTorch does not do")
            return archive.read(name)

        if root + "byteorder" in archive.namelist() and member(root + "byteorder") != b"little":
            raise ValueError("saved on a big-endian machine, which is not supported")
        content = member(root + "data.pkl")
        tensors = _state_dict(unpickle(io.BytesIO(content), len(content)))
        storages = {tensor.storage for tensor in tensors.values()}
        data = {s: np.frombuffer(member(f"{root}data/{s.key}"), s.dtype) for s in storages}
    return {name: _array(tensor, data[tensor.storage]) for name, tensor in tensors.items()}


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if unpickle(file, size) != _LEGACY_MAGIC:
            raise ValueError("a plain pickle, expected a file of torch.save")
        unpickle(file, size)  # version
        if not unpickle(file, size)["little_endian"]:
            raise ValueError("saved on a big-endian machine, which is not supported")
        tensors = _state_dict(unpickle(file, size))
        dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
        data = {}
        for key in unpickle(file, size):
            # Storages that only other entries (an optimizer's) use have no known element size.
            if key not in dtypes:
                raise ValueError("holds more than one state_dict: save it alone")
            length = int.from_bytes(file.read(8), "little") * dtypes[key].itemsize
            left = path.stat().st_size - file.tell()
            if length > left:
                raise ValueError(f"truncated: {left} bytes left of a storage of {length}")
            data[key] = np.frombuffer(file.read(length), dtypes[key])
    return {name: _array(tensor, data[tensor.storage.key]) for name, tensor in tensors.items()}


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the state_dict in a file of `torch.save`.

    Args:
      path: a .pth, .pt or .pkl in the zip or the older layout, holding a state_dict or a dictionary
        with exactly one; a common prefix "module." (DataParallel) is dropped.

    Returns:
      Read-only arrays by name, in the file's order, dtypes (bfloat16 by ml_dtypes) and axis order.

    Raises:
      FileNotFoundError; ValueError with one line for anything else that is not tensors alone.
    """
    path = Path(path)
    with blaming(path, "PyTorch file"):
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a .safetensors file: arrays by name, sorted. Raises as `read_torch`."""
    path = Path(path)
    with blaming(path, "safetensors file"):
        library = need("safetensors")
        try:
            entries = library.deserialize(path.read_bytes())
        except library.SafetensorError as error:
            raise ValueError(str(error)) from None
        # safetensors.numpy knows no bfloat16.
        return {
            name: np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in sorted(entries)
        }
