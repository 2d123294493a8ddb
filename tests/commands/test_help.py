"""The pages that `fss` prints: fast, whole, with an example; and that a flag means one thing."""

import argparse
import os
import re
import resource
import subprocess
import sys

import pytest

from fss_jax import cli
from fss_jax.commands import study
from fss_jax.runtime import arguments

COMMANDS = [name for name in cli.names() if name != "study"]
COMMANDS += [f"study {name}" for name in study.members()]
# Slow to import, and of no use to who asks for help.
HEAVY = "jax numpy flax optax orbax tensorflow_datasets matplotlib scipy PIL ml_collections"


def fss(*words):
    return subprocess.run([sys.executable, "-m", "fss_jax", *words], capture_output=True, text=True)


def test_help_comes_within_three_tenths_of_a_second_and_imports_nothing_heavy():
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert fss("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Of the processor, since others may use this machine as well.
    assert min(seconds() for _ in range(3)) < 0.3
    code = f"""
import sys
from fss_jax import cli
for words in (["--help"], ["--version"], ["label", "--help"], ["train", "--help"]):
    try:
        cli.main(words)
    except SystemExit as done:
        assert not done.code
heavy = set("{HEAVY}".split()) & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_lists_every_command_under_who_needs_it(capsys):
    cli.main(["--help"])
    page = capsys.readouterr().out
    for name in cli.names():
        assert re.search(rf"^  {name} +[A-Z].*[^.]$", page, re.M), name
    assert max(map(len, page.splitlines())) <= 100
    groups = [page.index(f"\n{title}\n") for title in cli.GROUPS.values()]
    assert groups == sorted(groups)
    cli.main([])
    assert capsys.readouterr().out == page


@pytest.mark.parametrize("name", ["study", *COMMANDS])
def test_the_help_of_a_command_shows_an_example_that_it_accepts(name, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main([*name.split(), "--help"])
    assert not done.value.code
    page = capsys.readouterr().out
    examples = re.findall(rf"^  fss ({name}\b.*(?:\\\n.*)*)", page, re.M)
    assert examples, page
    for example in examples:
        words = example.partition("#")[0].partition(">")[0].replace("\\\n", " ").split()
        module, found, rest = cli.find(words)
        if "--help" not in rest:
            assert found == name or name == "study"
            cli.parser(module, found).parse_args(rest)


def test_a_flag_means_one_thing():
    """What several commands take is declared once, or by one command for all."""
    seen: dict[str, set[str]] = {}
    for name in COMMANDS:
        module, _, _ = cli.find(name.split())
        for action in cli.parser(module, name)._actions:
            hidden = action.help == argparse.SUPPRESS
            for flag in () if hidden else action.option_strings:
                seen.setdefault(flag, set()).add(action.help)
    own = {flag for flag, kinds in seen.items() if len(kinds) > 1}
    # These say more than the table does, of the same thing.
    assert own <= {"--out", "--shots"}
    assert set(arguments.FLAGS) <= set(seen)


def test_the_version_is_the_package_s():
    done = fss("--version")
    assert re.fullmatch(r"fss_jax \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.slow
def test_a_traceback_comes_only_when_asked(tmp_path):
    line = ["weights", "inspect", str(tmp_path / "x.pth")]
    done = fss(*line)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    done = fss(*line, "--traceback")
    assert done.returncode == 1 and "Traceback" in done.stderr
    environment = os.environ | {"FSS_JAX_TRACEBACK": "1"}
    command = [sys.executable, "-m", "fss_jax", *line]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys):
    def stopped(given):
        raise KeyboardInterrupt("stopped; the same command continues")

    monkeypatch.setattr(cli.load("models"), "run", stopped)
    with pytest.raises(SystemExit) as done:
        cli.main(["models"])
    assert done.value.code == 130
    assert capsys.readouterr().err == "error: stopped; the same command continues\n"


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m fss_jax models | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], (True, None)),
        (["--notrivial"], (False, None)),
        (["--no-trivial"], (False, None)),
        (["--trivial=false"], (False, None)),
        (["--trivial=True", "--cluster"], (True, True)),
        (["--nocluster"], (True, False)),
    ],
)
def test_booleans_are_spelled_both_ways(words, expected):
    module, name, rest = cli.find(["evaluate", "--workdir", "w", *words])
    given = cli.parser(module, name).parse_args(rest)
    assert (given.trivial, given.cluster) == expected


def test_an_old_flag_works_with_a_line(capsys):
    module, name, rest = cli.find(["experiments", "all", "--workdir", "there"])
    assert cli.parser(module, name).parse_args(rest).out == "there"
    assert capsys.readouterr().err == "--workdir is now --out\n"


def test_help_tells_defaults_that_are_given():
    made = arguments.Parser(prog="x")
    made.add_argument("--one", default=3, help="a number")
    made.add_argument("--two", action="store_true", help="a choice")
    assert "a number (default: 3)" in made.format_help()
    assert "a choice\n" in made.format_help()
    assert isinstance(made, argparse.ArgumentParser)
