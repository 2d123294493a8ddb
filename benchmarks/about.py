"""Which run of which code a file of figures comes from."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The checkout's commit, in short; 'unknown' outside a checkout. Ask before a long run."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def about(module: str, seconds: float, code: str) -> dict:
    """Date, machine, duration, commit and command of a run.

    Args:
      module: that `python -m` ran.
      seconds: that it took.
      code: the `commit` at its start.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "seconds": round(seconds),
        "commit": code,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    }
