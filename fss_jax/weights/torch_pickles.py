"""Reads the pickles inside PyTorch's files, executing nothing of them.

A pickle is a program. Here its opcodes are walked by hand, and the only things that can come out are
containers, numbers, strings and descriptions of tensors; any other name in it is refused.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_DTYPES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Storage(NamedTuple):
    key: str
    dtype: np.dtype


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Global(NamedTuple):
    """A name from the allow-list: a storage type (`dtype`) or something to call (`call`)."""

    dtype: np.dtype | None = None
    call: Callable[..., Any] | None = None


_GLOBALS = {
    "collections OrderedDict": _Global(call=dict),
    "torch._utils _rebuild_tensor": _Global(call=Tensor),
    "torch._utils _rebuild_tensor_v2": _Global(call=lambda *args: Tensor(*args[:4])),
    "torch._utils _rebuild_parameter": _Global(call=lambda tensor, *_: tensor),
    **{
        f"{module} {name}": _Global(dtype=np.dtype(dtype))
        for module in ("torch", "torch.cuda")
        for name, dtype in _DTYPES.items()
    },
}

_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _named(module_and_name: str) -> _Global:
    if module_and_name not in _GLOBALS:
        name = module_and_name.replace(" ", ".")
        raise ValueError(
            f"its pickle asks for {name!r}; only tensors in dictionaries are accepted "
            "(nothing was executed): save the model's state_dict() alone"
        )
    return _GLOBALS[module_and_name]


def _storage(identity: Any) -> Storage:
    """A tensor's storage by its persistent id ('storage', type, key, location, size[, view])."""
    tag, kind, key, *rest = identity
    if tag != "storage" or not isinstance(kind, _Global) or kind.dtype is None:
        raise ValueError(f"its pickle refers to {str(tag)[:40]!r}, not to a tensor's storage")
    if len(rest) > 2 and rest[2] is not None:
        raise ValueError("storage views of PyTorch before 0.4 are not supported")
    if not isinstance(key, str | int):  # a container may be as long as one likes when written out
        raise ValueError(f"its pickle names a storage by a {type(key).__name__}")
    return Storage(str(key), kind.dtype)


def _pairs(values: list) -> list[tuple]:
    """Keys and values that follow each other; a key that holds others may take forever to hash."""
    for key in values[::2]:
        if not isinstance(key, str | bytes | int | float | None):
            raise ValueError(f"its pickle has a dictionary with a {type(key).__name__} for a key")
    return list(zip(values[::2], values[1::2], strict=True))


def unpickle(stream: io.BufferedIOBase, size: int) -> Any:
    """The object of one pickle, from containers, scalars and tensor descriptions only.

    Leaves `stream` right behind the pickle. Raises ValueError (or what bad bytes cause) otherwise.

    Args:
      size: bytes that the pickle may have. What is copied by calls may not have more elements: each
        was written once, so that it took a byte.
    """
    stack, marks, memo = [], [], {}
    copied = 0

    def since_mark() -> list:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    for opcode, arg, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _VALUES:
            stack.append(arg)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("PROTO", "FRAME"):
            continue
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[name]())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST"):
            values = since_mark()
            stack.append(tuple(values) if name == "TUPLE" else values)
        elif name == "DICT":
            values = since_mark()
            stack.append(dict(_pairs(values)))
        elif name in ("APPEND", "APPENDS"):
            values = since_mark() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(_pairs(values))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name == "GLOBAL":
            stack.append(_named(arg))
        elif name == "STACK_GLOBAL":
            stack.append(_named(f"{stack.pop(-2)} {stack.pop()}"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, _Global) or function.call is None:
                raise ValueError(f"its pickle calls a {type(function).__name__} (not executed)")
            copied += len(arguments) + sum(len(a) for a in arguments if hasattr(a, "__len__"))
            if copied > size:
                raise ValueError(
                    f"its pickle calls for more than {size} elements, more than it has bytes"
                )
            if function.call is dict and arguments:
                arguments = (_pairs([part for pair in arguments[0] for part in pair]),)
            stack.append(function.call(*arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of a state_dict (its version numbers): not needed
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"pickle opcode {name} is not used by tensors (nothing was executed)")
    raise ValueError("its pickle has no end")
