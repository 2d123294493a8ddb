"""Who may write where: one training a workdir, and turns among all that write into a labels folder.

The system releases a lock however its process ends; what is written in the file only says whose it
was. On a file system without locks (some network ones) the file alone speaks.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

HOLDER, WRITING = "process.lock", ".writing.lock"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_threads: dict[str, threading.Lock] = {}
_threads_guard = threading.Lock()


class Held(ValueError):
    """Another process writes there; the message names it."""


@contextlib.contextmanager
def alone(
    folder: Path, doing: str = "being trained in by", option: str = "--workdir"
) -> Iterator[None]:
    """Holds a folder for one process; whose it is stands in FOLDER/process.lock until the end.

    A lock that a dead process left is taken over, and said.

    Args:
      doing, option: for the message: what it is, and what chooses another folder.

    Raises:
      Held: another one holds it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / HOLDER

    def held(holder: dict | None) -> Held:
        return Held(
            f"{folder} is {doing} {_said(holder)}; wait for it, stop it, or choose another {option} "
            f"(delete {path} only if that process is gone)"
        )

    file, locked = _open(path, held)
    try:
        holder = _holder(file)
        if not locked and holder and _may_live(holder):
            raise held(holder)
        if holder:
            log.warning(
                "%s was left locked by %s, which is gone: taken over", folder, _said(holder)
            )
        file.seek(0)
        file.truncate()
        now = datetime.datetime.now().isoformat(" ", "seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now}, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        file.close()
        if made:
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


def _open(path: Path, held: Callable[[dict | None], Held]):
    """The lock's file and whether the system holds it for us."""
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise held(holder) from None
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return file, False
            file.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file, True
        file.close()  # its holder was just leaving, and took the file away


def _holder(file) -> dict | None:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return {key: holder[key] for key in ("pid", "host", "since")}
    except (ValueError, KeyError, TypeError):
        return None


def _may_live(holder: dict) -> bool:
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, TypeError):
        return True
    return True


def _said(holder: dict | None) -> str:
    if holder is None:
        return "another process"
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Waits until no other thread or process writes into a folder, then holds it. Not reentrant."""
    folder.mkdir(parents=True, exist_ok=True)
    with _threads_guard:
        thread = _threads.setdefault(os.fspath(folder.resolve()), threading.Lock())
    with thread, (folder / WRITING).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:  # else threads alone take turns
                raise
        yield
