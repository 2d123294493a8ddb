"""Whether an image is still the one that was labelled."""

from pathlib import Path

from fss_jax.labelling.manifest import sha256


def state(path: Path) -> list:
    """[bytes, nanoseconds of the last change, SHA-256] of a file."""
    status = path.stat()
    return [status.st_size, status.st_ctime_ns, sha256(path)]


def same(path: Path, then: list) -> bool:
    """Whether a file holds what it held; it is read only if the system says that it was touched."""
    try:
        status = path.stat()
        if [status.st_size, status.st_ctime_ns] == then[:2]:
            return True
        return status.st_size == then[0] and sha256(path) == then[2]
    except OSError:
        return False
