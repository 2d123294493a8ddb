"""--config PATH or NAME, with --config.KEY=VALUE typed as the setting is that it replaces."""

import argparse
import ast
import difflib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fss_jax.runtime import arguments

if TYPE_CHECKING:
    from ml_collections import ConfigDict

FOLDER = Path(__file__).resolve().parents[1] / "configs"


def add(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """The flags --config and --init. `read` makes a config of them."""
    parser.add_argument(
        arguments.CONFIG,
        required=required,
        metavar="CONFIG",
        help="an experiment's settings: METHOD/NAME (fss models lists them), or a file; "
        "--config.KEY=VALUE changes one of them",
    )
    parser.add_argument(
        "--init",
        metavar="SOURCE",
        help="weights to start from, as --config.init: workdir:FOLDER, torchvision:ARCH:FILE, ...",
    )


def names() -> list[str]:
    """The experiments in the package, as --config takes them."""
    from fss_jax import configs

    return configs.names()


def find(given: str) -> Path:
    """The file of a config: a path as it is, or a name; its last part alone if no other has it.

    Raises:
      ValueError: there is none; naming the nearest.
    """
    if Path(given).is_file():
        return Path(given)
    name = given.removesuffix(".py").removeprefix("fss_jax/configs/")
    named = [known for known in names() if known == name]
    named = named or [known for known in names() if known.rpartition("/")[2] == name]
    if len(named) == 1 and not given.endswith(".py"):
        return FOLDER / f"{named[0]}.py"
    close = named or difflib.get_close_matches(name, names(), 3, 0.4)
    hint = f"; did you mean {' or '.join(close)}?" if close else "; `fss models` lists the known"
    raise ValueError(f"no config {given!r}, neither a file nor a name{hint}")


def load(given: str) -> "ConfigDict":
    """The locked config of a file or name.

    Raises:
      ValueError: there is none, or it has no get_config().
    """
    path = find(given)
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; a config has a get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path} has no get_config(), so it is not a config")
    return module.get_config().lock()


def read(given: argparse.Namespace) -> "ConfigDict | None":
    """The config that arguments ask for, changed as they say; None without --config.

    Raises:
      ValueError: no such config or setting, a value of another type, or changes of no config.
    """
    if given.config is None:
        if given.settings or given.init:
            changed = f"config.{given.settings[0][0]}" if given.settings else "init"
            raise ValueError(f"--{changed} changes a config, and there is none; add --config")
        return None
    config = load(given.config)
    override(config, given.settings)
    if given.init:
        config.init = given.init
    return config


def override(config: "ConfigDict", settings: Iterable[tuple[str, str]]) -> None:
    """Changes settings, each (path with dots, text).

    Raises:
      ValueError: an unknown setting, naming the nearest; or a text that is not of the old value's type.
    """
    tuples: dict[str, tuple] = {}
    for path, text in settings:
        holder, known = config, "config"
        *parents, key = path.split(".")
        for parent in parents:
            holder, known = _get(holder, known, parent), f"{known}.{parent}"
            if not hasattr(holder, "keys"):
                raise ValueError(f"{known} has no settings inside, so there is no config.{path}")
        value = _typed(f"config.{path}", text, _get(holder, known, key))
        if isinstance(value, tuple):  # --config.x=1 --config.x=2 are one tuple
            value = tuples[path] = tuples.get(path, ()) + value
        holder[key] = value


def _get(holder: "ConfigDict", name: str, key: str) -> Any:
    if key not in holder:
        raise ValueError(f"no setting {name}.{key}{arguments.nearest(key, holder.keys())}")
    return holder[key]


def _typed(name: str, text: str, old: Any) -> Any:
    """A text as the type of the value it replaces."""
    kinds = {bool: "true or false", tuple: "a tuple, like '(1, 2)'", dict: "a dictionary"}
    kind = dict if hasattr(old, "keys") else type(old)
    try:
        if kind is str:
            return text
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        value = ast.literal_eval(text)
        if kind is tuple:
            return tuple(value) if isinstance(value, list | tuple) else (value,)
        return type(old)(dict(value)) if kind is dict else value
    except (KeyError, ValueError, SyntaxError, TypeError):
        if kind is tuple and not {",", " "} & set(text):  # a word alone needs no quotes
            return (text,)
        expected = kinds.get(kind, kind.__name__)
        raise ValueError(f"{name}={text}: expected {expected}, like {old!r}") from None
