"""The wheel, in an environment of its own and outside the repository: it has all that it needs."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import toy_pictures
from packaging.requirements import Requirement
from setuptools.config import setupcfg

ROOT = Path(__file__).resolve().parents[2]


def declared() -> dict[str, set[str]]:
    """Distributions that setup.cfg names, by extra; '' are those that every installation has."""
    setup = ConfigParser(inline_comment_prefixes=("#",))
    setup.read(ROOT / "setup.cfg")
    lists = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {
        extra: {re.split(r"[\[<>=;]", line)[0].lower().replace("-", "_") for line in text.split()}
        for extra, text in lists.items()
    }


def test_every_requirement_can_be_read():
    """As setuptools reads them: it takes what follows a ';' in a single line for another one."""
    options = setupcfg.read_configuration(ROOT / "setup.cfg")["options"]
    for lines in (options["install_requires"], *options["extras_require"].values()):
        for line in lines:
            Requirement(line.partition("#")[0])


def imports(path: Path) -> list[tuple[str, bool]]:
    """(first part of a module's name, whether the file needs it to be imported itself)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found += [(name.partition(".")[0], node in tree.body) for name in names]
    return found


def test_what_is_imported_is_declared():
    """At the top of a file what every installation has; inside functions extras, too."""
    known = declared()
    everywhere = known[""]
    somewhere = set().union(*known.values())
    distributions = importlib.metadata.packages_distributions()
    files = [*(ROOT / "fss_jax").rglob("*.py"), *(ROOT / "data_builders").rglob("*.py")]
    wrong = set()
    for path in files:
        for module, top in imports(path):
            if module in sys.stdlib_module_names or module in ("fss_jax", "data_builders", ""):
                continue
            owners = {
                name.lower().replace("-", "_") for name in distributions.get(module, [module])
            }
            if not owners & (everywhere if top else somewhere):
                wrong.add(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(folder, run): an environment with the wheel, and a function that runs its programs there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file() and name.partition("/")[0] not in ("docs", "tests"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")

    place = folder / "environment"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    # The dependencies are this environment's: without its own fss_jax, which only its .pth names.
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])

    def run(*words):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [place / "bin" / words[0], *words[1:]],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    where = run("python", "-c", "import fss_jax; print(fss_jax.__file__)").stdout
    assert Path(where.strip()).is_relative_to(place)
    return folder, wheel, run


@pytest.mark.slow
def test_the_wheel_holds_no_tests_and_no_weights(installed):
    _, wheel, _ = installed
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert not [name for name in names if re.search(r"(test_|_test|conftest)[^/]*\.py$", name)]
    weights = r"\.(npz|npy|safetensors|h5|pth?|msgpack)$"
    assert not [name for name in names if re.search(weights, name)]
    assert any(name.startswith("fss_jax/configs/") for name in names)


@pytest.mark.slow
def test_the_wheel_works_outside_the_repository(installed):
    folder, _, run = installed
    assert re.fullmatch(r"fss_jax \d+\.\d+\.\d+\n", run("fss", "--version").stdout)
    for words in (["models"], ["models", "--config", "oslsm/quickstart"], ["study", "--help"]):
        done = run("fss", *words)
        assert done.returncode == 0 and done.stdout, done.stderr
    toy_pictures.write_support(folder / "square")
    toy_pictures.write_images(folder / "photos", 2)
    words = ["label", "--support", "square", "--images", "photos", "--out", "labels"]
    done = run("fss", *words)
    assert done.returncode == 0, done.stderr
    assert "2 images labelled" in done.stdout
    assert len(list((folder / "labels" / "masks").glob("*.png"))) == 2
    done = run("fss", "prepare", "fss_glyphs/tiny", "--option", "classes=12", "--data_dir", "data")
    assert done.returncode == 0, done.stderr
    assert (folder / "data" / "fss_glyphs" / "tiny-classes-12").is_dir()
