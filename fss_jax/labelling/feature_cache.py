"""Features of pictures on disk: what depends on a picture alone is computed once.

FOLDER/KEY is an entry: SHA-256 of the key and of what follows, then the numbers of every level as
float16. A key tells the pixels and the network, so that an entry is never stale; one that was cut
short, changed or renamed is not believed and is computed again. The folder may be deleted at any time.
"""

import contextlib
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fss_jax.runtime import messages

LIMIT = 4 * 2**30  # bytes
ROOM = 0.02  # of the limit, that is made at once when the folder is full
_DIGEST = 32  # bytes
_KEY = 64  # characters


class FeatureCache:
    """A folder of entries, at most so many bytes of them.

    Where it is full, entries go that no run used since this one began, the longest unused first; if
    there are none, nothing more is kept. So a folder of pictures that is larger than the limit is
    kept in part, and not replaced over and over.
    """

    def __init__(self, folder: Path, limit: int = LIMIT):
        """Raises OSError where the folder cannot be made."""
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        self._began = time.time()
        self._bytes = sum(size for _, size, _ in self._entries())
        self._broken = False

    def get(self, key: str, like: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Of a key, float16 arrays of the shapes of `like`; None where there is no good entry."""
        path = self.folder / key
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        sizes = [math.prod(level.shape) for level in like.values()]
        body = memoryview(data)[_DIGEST:]
        if len(body) != 2 * sum(sizes) or _digest(key, body) != data[:_DIGEST]:
            return None
        numbers, found = np.frombuffer(body, np.float16), {}
        for (name, level), size in zip(like.items(), sizes, strict=True):
            found[name], numbers = numbers[:size].reshape(level.shape), numbers[size:]
        return found

    def put(self, key: str, features: Mapping[str, np.ndarray]) -> None:
        """Keeps an entry if there is room for it. Never raises: without a cache all is as before."""
        body = b"".join(np.ascontiguousarray(x, np.float16).tobytes() for x in features.values())
        if self._broken or not self._room(len(body) + _DIGEST):
            return
        try:
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_digest(key, body))
                    file.write(body)
                os.replace(name, self.folder / key)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        except OSError:  # a full disk, a folder that was deleted
            self._broken = True
            return
        self._bytes += len(body) + _DIGEST

    def _room(self, need: int) -> bool:
        if self._bytes + need <= self.limit:
            return True
        entries = self._entries()
        self._bytes = sum(size for _, size, _ in entries)
        for used, size, path in sorted(entries):
            if self._bytes + need <= (1 - ROOM) * self.limit or used >= self._began:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                self._bytes -= size
        return self._bytes + need <= self.limit

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of each."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                # Of another name is what a killed process left half-written.
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if len(entry.name) != _KEY and status.st_mtime < self._began - 3600:
                        os.unlink(entry.path)
                    elif len(entry.name) == _KEY:
                        found.append((status.st_mtime, status.st_size, Path(entry.path)))
        return found


def usual(limit: int = LIMIT) -> FeatureCache | None:
    """The cache of this user, beside that of compiled functions; None where nothing can be kept."""
    home = messages.cache_home()
    if home is None or limit <= 0:
        return None
    try:
        return FeatureCache(home / "fss_jax" / "features", limit)
    except OSError:  # a read-only home
        return None


def _digest(key: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(body)
    return digest.digest()
