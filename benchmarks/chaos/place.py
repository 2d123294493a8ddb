"""A folder with everything that a chaos run needs, and the commands it runs there."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.about import ROOT

sys.path.insert(0, str(ROOT / "tests"))  # the toy data, model and pictures of the tests
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", FAST)  # before jax is imported: toys need not be fast

TRAIN = [sys.executable, "train.py"]
LABEL = [sys.executable, "-m", "fss_jax", "label"]
APP = [sys.executable, "-m", "fss_jax", "app"]


class Place:
    """Toy data, a trained toy model, supports and images under one folder."""

    def __init__(self, folder: Path, images: int):
        import toy_pictures
        import toy_run

        self.folder = folder
        self.model = toy_run.save(folder / "toy")
        self.data = folder / "toy" / "data"
        self.support = toy_pictures.write_support(folder / "support" / "square", 3)
        self.images = toy_pictures.write_images(folder / "images", images)

    def train(self, workdir: Path, steps: int) -> list[str]:
        flags = ["--config=tests/toy.py", f"--workdir={workdir}", f"--config.data_dir={self.data}"]
        flags += [f"--config.steps={steps}", "--config.eval_every=20", "--config.log_every=20"]
        return [*TRAIN, *flags]

    def labels(self) -> Path:
        """The labels that an undisturbed run gives."""
        out = self.folder / "labels"
        if not (out / "manifest.jsonl").is_file():
            finish(self.label(out))
        return out

    def label(self, out: Path, images: Path | None = None) -> list[str]:
        flags = [
            f"--workdir={self.model}",
            f"--support={self.support}",
            f"--out={out}",
            "--coco=rle",
        ]
        return [*LABEL, *flags, f"--images={images or self.images}"]


def environment(**more: str) -> dict[str, str]:
    """Of the child processes: the repository's code, one CPU device, quick compilation."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": paths, "XLA_FLAGS": FAST, "MPLBACKEND": "agg"} | more


def start(command: Sequence[str], *, told: bool = True, **more: str) -> subprocess.Popen:
    """A process of its own group; nobody may wait for one that is `told` without reading its pipe."""
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(**more), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if told else subprocess.DEVNULL, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def finish(command: Sequence[str], seconds: float = 1800, **more: str) -> tuple[int, str]:
    """Exit code and output of a command; killed with its children when it takes too long."""
    process = start(command, **more)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return -signal.SIGKILL, f"took longer than {seconds} s"
    return process.returncode, output


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def last_line(output: str) -> str:
    """The last line that is no progress bar."""
    lines = [line.strip() for line in output.replace("\r", "\n").splitlines()]
    return next((line for line in reversed(lines) if line and "it/s" not in line), "")
