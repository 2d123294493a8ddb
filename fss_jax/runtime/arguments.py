"""Flags of commands: a parser whose mistakes are one line, and the flags that several commands take.

A flag name means one thing everywhere, so its meaning stands here once (`FLAGS`).
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fss_jax.runtime import messages

CONFIG = "--config"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a command's text, and tells what a flag is without being given."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        told = action.default not in (None, False, "", (), [], argparse.SUPPRESS)
        return f"{text} (default: %(default)s)" if told else text


class Parser(argparse.ArgumentParser):
    """argparse with whole flag names only, mistakes told in one line, and --config.KEY=VALUE.

    A parser with the flag --config takes --config.KEY=VALUE, --config.KEY VALUE, --config.KEY and
    --noconfig.KEY, too: `settings` of the parsed arguments lists them as (key, text), for
    `config_flags.read`. A flag that is true or false is --flag, --no-flag, --noflag or --flag=false.
    """

    def __init__(self, **settings: Any):
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        messages.fail(f"{message} (see {self.prog} --help)")

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """The arguments; exits with 2 and one line for an unknown flag or a value that is none."""
        given, settings = self._split(sys.argv[1:] if args is None else args)
        parsed, rest = self.parse_known_args(given, namespace)
        if rest:
            self.error(f"unexpected argument {rest[0]!r}; options are written --name=value")
        parsed.settings = settings
        return parsed

    def _split(self, words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
        """The words for argparse, with booleans in its own spelling; and the config's settings."""
        known = self._option_string_actions
        given, settings, words = [], [], list(words)
        while words:
            word = words.pop(0)
            flag, equals, value = word.partition("=")
            positive = "--" + flag.removeprefix("--no").removeprefix("-")
            boolean = isinstance(known.get(positive), argparse.BooleanOptionalAction)
            if word == "--":
                return [*given, word, *words], settings
            elif CONFIG in known and flag.startswith(CONFIG + "."):
                if not equals:
                    follows = words and not words[0].startswith("--")
                    value = words.pop(0) if follows else "true"
                settings.append((flag.removeprefix(CONFIG + "."), value))
            elif CONFIG in known and flag.startswith("--noconfig."):
                settings.append((flag.removeprefix("--noconfig."), "false"))
            elif boolean and flag.startswith("--no"):
                given.append(f"--no-{positive[2:]}")
            elif flag in known:
                boolean = isinstance(known[flag], argparse.BooleanOptionalAction)
                if boolean and equals and value.lower() in ("true", "false", "1", "0"):
                    word = flag if value.lower() in ("true", "1") else f"--no-{flag[2:]}"
                given.append(word)
            elif flag.startswith("--"):
                self.error(f"no flag {flag}{nearest(flag, known)}")
            else:
                given.append(word)
        return given, settings


def nearest(given: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' if something is like what was given, else nothing."""
    close = difflib.get_close_matches(given, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def at_least(least: int) -> Callable[[str], int]:
    """A flag's type: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.strip().lstrip("+-").isdecimal():
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, not {text}")
        return int(text)

    return number


COUNT, COUNT_OR_NONE = at_least(1), at_least(0)

FLAGS: dict[str, dict[str, Any]] = {
    "--annotation": {
        "default": "mask",
        "help": "what is shown of the supports: mask, points, scribble or box",
    },
    "--canvas": {"type": COUNT, "help": "pixels; for larger images than trained on"},
    "--checkpoint": {"default": "best", "help": "best, latest, or a step"},
    "--cluster": {
        "action": argparse.BooleanOptionalAction,
        "help": "join the other processes, or run alone; otherwise the environment decides",
    },
    "--data_dir": {"help": "where datasets were prepared"},
    "--dataset": {"help": "NAME[/CONFIG], another dataset than the config's"},
    "--devices": {
        "type": COUNT_OR_NONE,
        "default": 0,
        "help": "how many devices of this process to use; 0 = all",
    },
    "--episodes": {"type": COUNT, "help": "only the first so many of the protocol's"},
    "--folder": {
        "help": "for examples and labels; otherwise WORKDIR/app or ./labelling (app), ./studio (serve)"
    },
    "--host": {"default": "127.0.0.1", "help": "who may open it; otherwise only here"},
    "--images": {"type": Path, "help": "a folder, searched to the bottom"},
    "--instances": {"action": "store_true", "help": "connected parts become objects of their own"},
    "--known_as": {
        "action": "append",
        "default": [],
        "metavar": "NAME",
        "help": "another name that it is asked for by",
    },
    "--port": {"type": COUNT_OR_NONE, "help": "0 = a free one"},
    "--out": {"help": "the folder to write to"},
    "--protocol": {"help": "how records are drawn and scored; otherwise the config's"},
    "--seed": {"type": COUNT_OR_NONE, "default": 0, "help": "of what is drawn at random"},
    "--shots": {"type": COUNT, "help": "supports per episode; otherwise the config's"},
    "--split": {"help": "otherwise the config's test split"},
    "--traceback": {
        "action": "store_true",
        "help": "where in the code an error came from, for a report of it",
    },
    "--support": {
        "type": Path,
        "help": "labelled examples: image/x.jpg with label/x.png, x.jpg beside x.png, x.png beside "
        "x_mask.png, one such folder per class, or the files of a label tool (docs/formats.md)",
    },
    "--workdir": {"help": "the folder of one training: its checkpoints, logs and results"},
}


def add(parser: argparse.ArgumentParser, *names: str, **changes: Any) -> None:
    """Adds flags of `FLAGS`; `changes` of how they are declared are for all of them."""
    for name in names:
        declared = FLAGS[name] | changes
        if declared.get("required"):
            declared.pop("default", None)
        parser.add_argument(name, **declared)


class _Renamed(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        print(f"{self.option_strings[0]} is now {self.const}", file=sys.stderr)
        setattr(namespace, self.dest, values)


def renamed(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Accepts the old name of a flag for one release, with a line that says so."""
    dest = new.lstrip("-")
    parser.add_argument(
        old, action=_Renamed, const=new, dest=dest, default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )  # fmt: skip
