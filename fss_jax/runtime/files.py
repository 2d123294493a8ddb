"""Files that are whole or not there: written beside their place, then moved into it.

What a killed process left half-written has a hidden name that ends in `.writing`, so that nobody takes
it for a picture or a mask; `clean` removes it at the next start.
"""

import contextlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_builders import interrupts

ENDING = ".writing"
_OWNER = re.compile(r"\.([\w-]+)\.(\d+)\.\w+\.writing$", re.ASCII)
_pending: set[Path] = set()  # of this process


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, for `put`; gone at the end if it was not put anywhere.

    Its name has no picture's ending: give Pillow and Matplotlib the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem[:20]}.{_host()}.{os.getpid()}.", suffix=ENDING
    )
    temporary = Path(name)
    _pending.add(temporary)
    try:
        os.close(handle)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _pending.discard(temporary)


def put(temporary: Path, path: Path) -> None:
    """Moves what is written into its place."""
    temporary.chmod(0o644)
    temporary.replace(path)


def local(path: str | Path) -> Path:
    """A path on this machine's disks.

    Raises:
      ValueError: an address such as gs://bucket/x, which would become a local folder of that name.
    """
    if "://" in str(path) or str(path).startswith(("gs:/", "s3:/")):
        raise ValueError(
            f"{path} is not on a local disk: mount the bucket (gcsfuse, s3fs) and name that folder"
        )
    return Path(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and vanishes if it does not."""
    with replacement(path) as temporary:
        yield temporary
        put(temporary, path)


def write_json(path: Path, value: dict | list, indent: int | None = 1) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent) + "\n")


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        # Names of files may hold bytes that are no text: they are written as \\udcff and the like.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def abandon() -> None:
    """Removes what this process is writing right now: it ends at once, without unwinding."""
    for temporary in list(_pending):
        with contextlib.suppress(OSError):
            temporary.unlink()


interrupts.at_end.append(abandon)


def clean(folder: Path) -> list[Path]:
    """Removes what processes that are gone left half-written below a folder; returns the paths.

    What runs on another host is left alone.
    """
    removed = []
    for path in folder.rglob(f".*{ENDING}") if folder.is_dir() else ():
        owner = _OWNER.search(path.name)
        if owner and owner[1] == _host() and not _lives(int(owner[2])):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _host() -> str:
    return re.sub(r"[^\w-]", "_", socket.gethostname(), flags=re.ASCII)[:60] or "host"


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
