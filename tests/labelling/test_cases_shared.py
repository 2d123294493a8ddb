"""Runs the scripts of ../shared/cases as they are, but for the names of commands that were renamed.

`make cases`. Every change is tried by the tests with readable inputs of the same kinds, in
test_cases_annotations.py, test_cases_output.py, test_cases_pictures.py and beside what they read.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
SCRIPTS = sorted(CASES.glob("*/run.sh")) if CASES.is_dir() else []
# Two minutes; tests/runtime/test_locks.py and tests/training have it in seconds.
LONG = ("39-train-two-in-one-workdir",)
RENAMED = (
    ("-m fss_jax.label ", "-m fss_jax label "),
    ("configs/quickstart.py", "configs/oslsm/quickstart.py"),
)
pytestmark = [pytest.mark.cases, pytest.mark.shared]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_case(script, tmp_path):
    if script.parent.name in LONG:
        pytest.skip("takes two minutes")
    if "setpriv" in script.read_text() and (os.geteuid() != 0 or not shutil.which("setpriv")):
        pytest.skip("needs root and setpriv")
    folder = shutil.copytree(script.parent, tmp_path / script.parent.name, symlinks=True)
    text = script.read_text()
    for old, new in RENAMED:
        text = text.replace(old, new)
    (folder / "run.sh").write_text(text)
    for path in (tmp_path, *tmp_path.parents):  # another user id reads the inputs
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o755)
    environment = {**os.environ, "FSS": str(ROOT), "PY": sys.executable, "JAX_PLATFORMS": "cpu"}
    environment = {k: v for k, v in environment.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
    done = subprocess.run(
        ["bash", str(folder / "run.sh")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,  # without a home nothing that was compiled is kept
    )
    expected = re.search("# Expected: (.*)", text)
    assert done.returncode == 0, f"{expected and expected[1]}\n{done.stdout}\n{done.stderr}"
