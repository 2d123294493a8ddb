"""`python -m fss_jax.OLD` names the new command in one line, for one release."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from fss_jax import cli
from fss_jax.runtime import old_spellings

ROOT = Path(__file__).resolve().parents[2]


def test_an_old_spelling_is_one_line_and_exit_code_2():
    for old in ("label", "refine", "weights"):
        command = [sys.executable, "-m", f"fss_jax.{old}", "--workdir", "runs/mine"]
        done = subprocess.run(command, capture_output=True, text=True)
        new = old_spellings.NEW.get(old) or old_spellings.NEW[f"{old}.__main__"]
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr == f"error: python -m fss_jax.{old} is now {new}\n"


@pytest.mark.parametrize("old", old_spellings.NEW)
def test_every_old_spelling_names_a_command_that_exists(old):
    words = old_spellings.NEW[old].partition(" (")[0].split()
    assert words[0] == "fss"
    assert cli.find(words[1:])[2] == []
    spec = old_spellings.Finder().find_spec(f"fss_jax.{old}")
    assert "is now fss" in "".join(
        str(constant) for constant in spec.loader.get_code(spec.name).co_consts
    )


def test_importing_what_is_no_more_says_where_it_went():
    with pytest.raises(ModuleNotFoundError, match="is now fss label"):
        importlib.import_module("fss_jax.label")
    with pytest.raises(ModuleNotFoundError, match="No module named 'fss_jax.labell'"):
        importlib.import_module("fss_jax.labell")


def test_the_package_s_own_folder_stays_small():
    assert len(list((ROOT / "fss_jax").glob("*.py"))) <= 3


def test_absl_reads_no_flags_of_ours():
    """One flag library; benchmarks are programs of their own."""
    files = [*(ROOT / "fss_jax").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"]
    files += (ROOT / "data_builders").rglob("*.py")
    for path in files:
        text = path.read_text()
        assert "absl import flags" not in text and "import app, flags" not in text, path
        assert "ml_collections import config_flags" not in text, path
