"""`fss COMMAND`: finds the command by its file's name, parses its flags, runs it.

A command is a file of fss_jax/commands: a text whose first line says what it is for, `GROUP`,
`add_flags(parser)` and `run(arguments)`. A file with `members` in their place is a group of commands:
`members()` gives their names with a line for each, `load(name)` a module like a command's.
Nothing heavy is imported before a command is known.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from data_builders import interrupts
from fss_jax import commands
from fss_jax.runtime import messages
from fss_jax.runtime.arguments import Parser, add, nearest

TITLE = "fss: few-shot segmentation. Show a thing once, have it found in every other image."
GROUPS = {"research": "Research", "data": "Data", "labelling": "Label your pictures", "": "More"}


def names() -> list[str]:
    """The commands: the files of fss_jax/commands."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))


def load(name: str) -> ModuleType:
    return importlib.import_module(f"{commands.__name__}.{name}")


def summary(module: ModuleType) -> str:
    """The first line of a command's text, without its full stop."""
    return (module.__doc__ or "").partition("\n")[0].rstrip(".")


def page() -> str:
    """What `fss --help` prints."""
    by_group: dict[str, list[str]] = {}
    for name in names():
        module = load(name)
        by_group.setdefault(module.GROUP, []).append(f"  {name:12} {summary(module)}")
    lines = [TITLE, "", "usage: fss COMMAND ...", ""]
    for group, title in GROUPS.items():
        lines += [title, *by_group.get(group, ()), ""]
    lines += ["fss COMMAND --help shows a command's flags and examples; fss --version the version."]
    return "\n".join(lines)


def find(words: Sequence[str]) -> tuple[ModuleType, str, list[str]]:
    """The command that words name, its spelling, and the words that are left for its parser.

    Raises:
      ValueError: no such command; naming the nearest.
    """
    name, *rest = words
    if name not in names():
        raise ValueError(f"no command {name!r}{nearest(name, names())} (fss --help lists them)")
    module = load(name)
    if hasattr(module, "members") and rest and not rest[0].startswith("-"):
        member, *rest = rest
        if member not in module.members():
            hint = nearest(member, module.members())
            raise ValueError(f"no {name} {member!r}{hint} (fss {name} --help lists them)")
        return module.load(member), f"{name} {member}", rest
    return module, name, rest


def parser(module: ModuleType, prog: str) -> argparse.ArgumentParser:
    """The parser of a command; its text, examples among it, is the description."""
    made = Parser(prog=prog, description=module.__doc__)
    if hasattr(module, "members"):
        lines = [f"  {member:20} {line}" for member, line in module.members().items()]
        made.description = "\n".join([module.__doc__ or "", *lines])
        made.add_argument("name", help="one of the above; NAME --help shows its flags")
    else:
        module.add_flags(made)
    add(made, "--traceback")
    return made


def tree() -> argparse.ArgumentParser:
    """All commands and their members as one parser, for shell completion."""

    def grow(parent: argparse.ArgumentParser, members: Iterator[tuple[str, ModuleType]]) -> None:
        below = parent.add_subparsers(metavar="COMMAND")
        for name, module in members:
            line = summary(module).replace("%", "%%")
            child = below.add_parser(name, help=line, description=module.__doc__)
            if hasattr(module, "members"):
                grow(child, ((member, module.load(member)) for member in module.members()))
            else:
                module.add_flags(child)
                add(child, "--traceback")

    root = Parser(prog="fss", description=TITLE)
    root.add_argument("--version", action="store_true", help="print the version")
    grow(root, ((name, load(name)) for name in names()))
    return root


def version() -> str:
    import importlib.metadata

    return f"fss_jax {importlib.metadata.version('fss_jax')}"


def main(words: Sequence[str] | None = None, prog: str = "") -> None:
    """Runs a command line, by default this process's own.

    Args:
      prog: how the command is called in its messages, if not `fss COMMAND`.
    """
    if words is None or prog:  # a process of its own
        interrupts.install()
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["train"]:  # before its imports: a scheduler may send it at any time
        interrupts.on_sigterm(interrupts.TRY_AGAIN, "stopped; the same command starts again")
    with messages.boundary(traceback="--traceback" in words):
        if not words or words[0] in ("-h", "--help", "help"):
            print(page())
        elif words[0] == "--version":
            print(version())
        else:
            module, name, rest = find(words)
            arguments = parser(module, prog or f"fss {name}").parse_args(rest)
            messages.show_only_our_messages()
            module.run(arguments)
