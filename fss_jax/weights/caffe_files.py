"""Reads Caffe's .caffemodel files: a protocol buffer (NetParameter), by its wire format alone.

Field numbers are those of caffe.proto. Only names and blobs are read; the rest is stepped over.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fss_jax.weights.reading import blaming

_LAYERS_V1, _LAYERS_V2 = 2, 100  # NetParameter.layers (before 2014), NetParameter.layer
_NAME = {_LAYERS_V1: 4, _LAYERS_V2: 1}  # V1LayerParameter.name, LayerParameter.name
_BLOBS = {_LAYERS_V1: 6, _LAYERS_V2: 7}
_LEGACY_SHAPE = (1, 2, 3, 4)  # BlobProto.num, channels, height, width
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8  # BlobProto
_DIM = 1  # BlobShape.dim

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_SIZE = {_FIXED64: 8, _FIXED32: 4}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yields (field number, wire type, value) of one message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in _FIXED_SIZE:
            length = _FIXED_SIZE[wire]
        else:
            raise ValueError(f"wire type {wire} in field {number}")
        if length > len(data) - at:
            raise ValueError(
                f"truncated: field {number} needs {length} bytes, {len(data) - at} left"
            )
        yield number, wire, data[at : at + length]
        at += length


def _varints(value: int | memoryview) -> list[int]:
    """The numbers of a repeated integer field, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def _blob(data: memoryview) -> np.ndarray:
    shape, legacy, parts, dtype = None, {}, [], np.dtype("<f4")
    for number, wire, value in _fields(data):
        if number == _SHAPE and wire == _BYTES:
            shape = [
                n for field, _, dims in _fields(value) if field == _DIM for n in _varints(dims)
            ]
        elif number in _LEGACY_SHAPE and wire == _VARINT:
            legacy[number] = value
        elif number in (_DATA, _DOUBLE_DATA) and wire != _VARINT:
            dtype = np.dtype("<f4" if number == _DATA else "<f8")
            parts.append(value)  # one if packed; one a number otherwise
    values = np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), dtype)
    if shape is None:
        shape = [legacy.get(number, 1) for number in _LEGACY_SHAPE]
    if math.prod(shape) != values.size:
        raise ValueError(f"a blob of shape {tuple(shape)} holds {values.size} numbers")
    return values.reshape(shape)


def read_caffe(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Reads the layers of a .caffemodel that have weights.

    Args:
      path: a net saved by Caffe, with layers of the first (V1) or the present (V2) kind.

    Returns:
      By layer name its blobs in Caffe's order (weights, then bias) and layout (output first).
      Files with V1 layers always give four axes, e.g. (1, 1, out, in) for an inner product.

    Raises:
      FileNotFoundError; ValueError with one line for a damaged file or one without weights.
    """
    path = Path(path)
    with blaming(path, "Caffe model"):
        with path.open("rb") as file:
            # Mapped, not read: the arrays are views, and only what is used comes into memory.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        layers = {}
        for kind, wire, layer in _fields(data):
            if kind not in _NAME or wire != _BYTES:
                continue
            name, blobs = "", []
            for number, wire, value in _fields(layer):
                if number == _NAME[kind] and wire == _BYTES:
                    name = bytes(value).decode()
                elif number == _BLOBS[kind] and wire == _BYTES:
                    blobs.append(_blob(value))
            if name in layers and blobs:
                raise ValueError(f"two layers are named {name!r}")
            if blobs:
                layers[name] = blobs
        if not layers:
            raise ValueError("no layer with weights in it")
        return layers
