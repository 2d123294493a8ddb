"""What all readers of foreign weight files share: one clear line for a file that cannot be read."""

import contextlib
import importlib
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# What parsing damaged bytes raises, besides ValueError, in Python's and numpy's own readers.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    OSError,
    Warning,  # where warnings are errors
    struct.error,
    zipfile.BadZipFile,
)


@contextlib.contextmanager
def blaming(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever reading a damaged file raises into a ValueError of one line that names it.

    Args:
      path: the file; FileNotFoundError if it is not one.
      kind: what it was read as, for the message ("PyTorch file").
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: not a {kind} that can be read: {_one_line(error)}") from None
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {_one_line(error)}"
        raise ValueError(f"{path}: damaged or truncated {kind} ({reason})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def need(module: str, extra: str = "weights") -> ModuleType:
    """Imports a library of an optional extra; ValueError says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        name = module.partition(".")[0]
        raise ValueError(f"this needs {name}: pip install 'fss_jax[{extra}]'") from None


def sniff(path: Path) -> str:
    """The format of a weights file by its first bytes: torch, safetensors, keras or caffe.

    A .caffemodel has no signature, so it is what remains if the bytes start like a protobuf
    message (field 1, 2 or 100 with a length). ValueError otherwise.
    """
    if path.is_dir():
        raise ValueError(f"{path}: a folder, expected a file (or the spec fss1000:{path})")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(16)
    # A safetensors file begins with its header's length, whose lowest byte may look like a pickle's
    # first; only if that many bytes are there, and JSON follows, it is one.
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if head[:1] in (b"\x0a", b"\x12") or head[:2] == b"\xa2\x06":
        return "caffe"
    raise ValueError(
        f"{path}: starts with {head[:8]!r}, which is no PyTorch, safetensors, Keras or Caffe file"
    )
