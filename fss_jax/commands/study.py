"""Answers one question about a trained method: clicks, supports, masks.

  fss study clicks --workdir runs/guided --clicks 5
  fss study growing_support --workdir runs/mine --class mug
  fss study conditioning --help

Each is a file of fss_jax/studies:
"""

import ast
import functools
import importlib
from pathlib import Path
from types import ModuleType

GROUP = "research"
FOLDER = Path(__file__).resolve().parents[1] / "studies"


@functools.cache
def members() -> dict[str, str]:
    """The files of fss_jax/studies that take flags, with the first line of their text."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\ndef add_flags(" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def load(name: str) -> ModuleType:
    return importlib.import_module(f"fss_jax.studies.{name}")


def run(given) -> None:
    raise ValueError("name a study; fss study --help lists them")
