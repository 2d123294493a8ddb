"""Where a result comes from: device, versions, date, command."""

import datetime
import importlib.metadata
import shlex
import sys
from collections.abc import Mapping

import jax

from fss_jax.runtime.devices import describe


def provenance() -> dict:
    """Device, versions, precision of float32 products, date and command of a result."""
    return {
        "device": describe(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")},
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
    }


def provenance_line(result: Mapping) -> str:
    """Device, versions and date of a result as text."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{result['device']}; {versions}; {result['date']}"
