"""Experiments as flat files, METHOD/NAME.py: each states every value that matters for its row.

Only `base` lies below them: it lists every setting there is, with the values of a plain run.
"""

import difflib
import importlib
from pathlib import Path

from ml_collections import ConfigDict

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every experiment's METHOD/NAME."""
    return sorted(
        path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/[!_]*.py")
    )


def get(name: str) -> ConfigDict:
    """The config METHOD/NAME.

    Raises:
      ValueError: there is none of that name; the message proposes the nearest.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no config {name!r}: {hint}choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('/', '.')}").get_config()
