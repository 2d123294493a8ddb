"""Every command line that a document or a config shows is one that its parser accepts."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from fss_jax import cli
from fss_jax.runtime import config_flags

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {"train.py": "train", "evaluate.py": "evaluate"}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)  # some make a config
CONFIGS = sorted((ROOT / "fss_jax" / "configs").glob("*/[!_]*.py"))
PROGRAM = r"(?:fss|python (?:train|evaluate)\.py|python -m (?:fss_jax|data_builders)\.?[\w.]*)"
BLOCK = re.compile(rf"^(?: {{4,}}|)(?:\S+=\S+ )*({PROGRAM} (?:[^`\n]*\\\n)*[^`\n]*)$", re.M)
INLINE = re.compile(rf"`({PROGRAM} [^`\n]*)`")


def commands(text: str) -> list[str]:
    """The command lines that stand by themselves in a text."""
    return [line.replace("\\\n", " ") for line in BLOCK.findall(text)]


def words(line: str) -> list[str]:
    """A command's words, without comments, redirection, what follows, and what may be left out."""
    line = re.sub(r"\[[^\]]*\]", "", re.split(r"\s+#|\s[>&]|;", line)[0])
    return [word for word in shlex.split(line) if word not in ("...", "..")]


def accept(line: str) -> None:
    """Parses a command line without running it."""
    given = words(line)
    if given[:2] == ["python", "-m"]:
        module, rest = given[2], given[3:]
        if module == "fss_jax":
            given = ["fss", *rest]
        elif module == "data_builders.prepare":
            from data_builders import prepare

            assert prepare._parse_arguments(rest).name
            return
        elif not (ROOT / Path(*module.split("."))).with_suffix(".py").is_file():
            raise ValueError(f"there is no module {module}")
        else:
            return
    rest = given[1:]
    if given[0] == "python":
        rest = [SCRIPTS[given[1]], *given[2:]]
    if rest[0].isupper():  # stands for any command
        return
    if rest[0].startswith("-"):
        assert rest[0] in ("--help", "--version")
        return
    module, name, rest = cli.find(rest)
    if "--help" in rest or not rest:  # the command is only named
        return
    known = cli.parser(module, f"fss {name}")
    parsed = known.parse_args(rest)
    config = getattr(parsed, "config", None)
    if config and not config.isupper() and f"configs/{config}.py" not in ALL:
        config_flags.read(parsed)


def refused(lines: list[str], capsys, partial: bool = False) -> list[str]:
    """The lines that are not accepted, with why."""
    wrong = []
    for line in lines:
        try:
            accept(line)
        except (SystemExit, ValueError, AssertionError) as error:
            why = capsys.readouterr().err or str(error)
            if not (partial and "are required" in why):
                wrong.append(f"{line.strip()}\n    {why.strip()}")
    return wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_shows_commands_that_are_accepted(path, capsys):
    text = path.read_text(encoding="utf-8")
    # In running text a command may be shown with only the flags that it is about.
    found = refused(commands(text), capsys) + refused(INLINE.findall(text), capsys, partial=True)
    assert not found, "\n".join(["", *found])


def test_a_config_s_text_shows_commands_that_are_accepted(capsys):
    lines = []
    for path in CONFIGS:
        shown = commands(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))
        assert shown, f"{path} shows no command"
        lines += shown
    found = refused(lines, capsys)
    assert not found, "\n".join(["", *found])


def test_what_is_wrong_is_found(capsys):
    good = "    fss train --config oslsm/quickstart --workdir runs/x --config.lr=0.1   # why\n"
    assert refused(commands(good), capsys) == []
    for wrong in ("--confg", "lr=0.1 --config.stesp=1", "/quickstart/x"):
        bad = good.replace("--config.lr=0.1", wrong) if wrong[0] == "-" else good
        bad = bad.replace("lr=0.1", wrong) if wrong[0] == "l" else bad
        bad = bad.replace("/quickstart", wrong) if wrong[0] == "/" else bad
        assert len(commands(bad)) == 1 and len(refused(commands(bad), capsys)) == 1, bad
