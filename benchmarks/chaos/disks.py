"""A full, a read-only and a slow disk: one line, nothing half-written, and the same command goes on.

Needs the right to mount a tmpfs (root); without it, it says that it did not run.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.place import Place, finish, last_line

# Read by Python at its start: whatever is put in its place on this disk waits.
SLOW = """
import os, time
_replace = os.replace
def replace(*arguments, **more):
    time.sleep(0.2)
    return _replace(*arguments, **more)
os.replace = replace
_fsync = os.fsync
def fsync(*arguments):
    time.sleep(0.2)
    return _fsync(*arguments)
os.fsync = fsync
"""


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A small disk; OSError if it may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise OSError("no right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def _outcome(code: int, output: str) -> dict:
    return {"code": code, "line": last_line(output)[:200], "traceback": "Traceback" in output}


def run(place: Place) -> dict:
    try:
        found = {"full": full(place), "read-only": read_only(place), "slow": slow(place)}
    except OSError as error:
        return {"ok": None, "why": str(error)}
    return {"ok": all(part["ok"] for part in found.values()), **found}


def full(place: Place) -> dict:
    """Runs into a full disk, then goes on with more room."""
    result = {}
    commands = {"training": lambda d: place.train(d / "run", 60),
                "labelling": lambda d: place.label(d / "labels")}  # fmt: skip
    for name, make in commands.items():
        with tmpfs(place.folder / f"full_{name}", "48k" if name == "labelling" else "300k") as disk:
            first = _outcome(*finish(make(disk)))
            left = [p.name for p in disk.rglob("*") if p.name.endswith(".writing")]
            _remount(disk, "size=200m")
            second = _outcome(*finish(make(disk)))
        good = first["code"] == 2 and not first["traceback"] and not second["code"] and not left
        result[name] = {"ok": good, "full": first, "with_room": second, "half_written": left}
    return {"ok": all(part["ok"] for part in result.values()), **result}


def read_only(place: Place) -> dict:
    result = {}
    with tmpfs(place.folder / "read_only", "50m") as disk:
        _remount(disk, "ro")
        for name, command in (("training", place.train(disk / "run", 20)),
                              ("labelling", place.label(disk / "labels"))):  # fmt: skip
            said = _outcome(*finish(command))
            result[name] = {"ok": said["code"] == 2 and not said["traceback"], **said}
    return {"ok": all(part["ok"] for part in result.values()), **result}


def slow(place: Place) -> dict:
    """Every replaced or synchronized file waits 0.2 s, by Python's own calls: no real slow device."""
    hook = place.folder / "slow"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SLOW)
    from benchmarks.chaos.place import environment

    paths = f"{hook}:{environment()['PYTHONPATH']}"
    began = time.monotonic()
    said = _outcome(*finish(place.label(place.folder / "slow_labels"), PYTHONPATH=paths))
    seconds = round(time.monotonic() - began)
    same = _masks(place.folder / "slow_labels") == _masks(place.labels())
    return {"ok": not said["code"] and same, "seconds": seconds, **said}


def _masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "masks").glob("*.png")}
