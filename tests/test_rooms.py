"""The package's shape: which folder may import which, how large a file may be, what lies on top."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fss_jax"
# Top to bottom: a room imports from those after it only.
ROOMS = (
    "commands",
    "experiments",
    "labelling",
    "export",
    "studies",
    "training",
    "scoring",
    "reports",
    "weights",
    "methods",
    "data",
    "runtime",
)
CONFIGS = "configs"  # settings without code; any room may name one
FILES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*FILES, *(p for d in ("data_builders", "benchmarks") for p in (ROOT / d).rglob("*.py"))]


def imported(path: Path) -> list[str]:
    """The dotted names of fss_jax that a file imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module == "fss_jax":
                found += [f"fss_jax.{alias.name}" for alias in node.names]
            elif node.module.startswith("fss_jax."):
                found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("fss_jax.")]
    return found


def test_the_rooms_are_those_that_are_named():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == {*ROOMS, CONFIGS}


def test_on_top_lie_three_files_at_most():
    assert {p.name for p in PACKAGE.glob("*.py")} <= {"__init__.py", "__main__.py", "cli.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room):
    above = ROOMS[: ROOMS.index(room)]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name in imported(path)
        if name.split(".")[1] in above
    ]
    assert not wrong


def test_configs_import_nothing_but_base():
    for path in (PACKAGE / CONFIGS).rglob("*.py"):
        assert set(imported(path)) <= {"fss_jax.configs"}, path


def test_builders_stand_alone():
    for path in (ROOT / "data_builders").rglob("*.py"):
        assert not imported(path), path


def test_no_file_is_longer_than_400_lines():
    assert [str(p) for p in SOURCES if len(p.read_text().splitlines()) > 400] == []


def test_sections_that_code_cites_are_in_docs():
    headings = (ROOT / "docs/protocols.md").read_text()
    there = set(re.findall(r"^#+ ([A-Z]\.\d+)\b", headings, re.MULTILINE))
    for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]:
        for line in path.read_text().splitlines():
            if "protocols.md" in line:
                cited = set(re.findall(r"\b([A-Z]\.\d+)\b", line))
                assert cited <= there, f"{path.relative_to(ROOT)}: {line.strip()}"


# Where a method's name is its own: itself, settings, the papers' tables, and releases of its weights.
OWN_PLACES = ("methods", "configs", "experiments", "weights/caffe.py", "weights/fss1000.py")
ALSO_MEAN = {
    "scoring/protocols.py": {
        "canet",
        "hsnet",
        "panet",
    },  # protocols are named after who published them
    "scoring/trivial.py": {"nearest"},  # a way to resize
    "studies/regularization.py": {"logistic"},  # a loss
}


def test_no_method_is_named_outside_its_own_places():
    methods = {p.stem for p in (PACKAGE / "methods").glob("*.py")} - {"__init__"}
    assert len(methods) > 9
    wrong = []
    for path in FILES:
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(OWN_PLACES):
            continue
        names = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        wrong += [f"{place}: {n}" for n in methods & names - ALSO_MEAN.get(place, set())]
    assert not wrong


def test_the_core_path_can_be_read_in_an_afternoon():
    page = (ROOT / "docs/architecture.md").read_text().partition("### The core path")[2]
    table = page.partition("What makes computation fast")[0]
    files = re.findall(r"`([\w/]+\.py)`", table)
    assert len(files) == 19
    paths = [ROOT / f if f.startswith("data_builders") else PACKAGE / f for f in files]
    assert sum(len(path.read_text().splitlines()) for path in paths) < 3500
