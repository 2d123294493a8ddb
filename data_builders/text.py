"""Reads anybody's text files: with or without a byte order mark, UTF-8 or UTF-16."""

import codecs
from pathlib import Path

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read(path: Path) -> str:
    """A file's text.

    Raises:
      FileNotFoundError: no such file.
      ValueError: bytes that are no text.
    """
    return decode(Path(path).read_bytes(), str(path))


def decode(data: bytes, name: str = "the text") -> str:
    """Bytes as text; without a mark they are UTF-8.

    Raises:
      ValueError: they are not.
    """
    encoding = next((e for mark, e in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is no text in {encoding.upper()} (byte {error.start}); save it as UTF-8"
        ) from None
