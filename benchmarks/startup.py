"""Seconds from the start of train.py to its first step, without and with a compilation cache.

python -m benchmarks.startup --data_dir data --out runs/speed/startup
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks import command, machine, tables

CONFIG = flags.DEFINE_string("config", "fss_jax/configs/oslsm/quickstart.py", "what to start")
DATASET = flags.DEFINE_string("dataset", "fss_glyphs/tiny", "a prepared dataset")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "where it was prepared")
ROUNDS = flags.DEFINE_integer("rounds", 3, "each with an empty cache and then with what it left")
OUT = flags.DEFINE_string("out", "runs/speed/startup", "writes OUT.json and OUT.md")

FIRST_STEP = "first step done"  # training.train says so


def seconds_to_first_step(command: list[str], cache: Path) -> float:
    """Starts a training and stops it when it has done a step.

    Raises:
      ValueError: it ended before; the message has its last lines.
    """
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    start, said = time.perf_counter(), []
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=env)
    try:
        for line in process.stderr:
            said.append(line.decode(errors="replace"))
            if FIRST_STEP in said[-1]:
                return time.perf_counter() - start
    finally:
        process.kill()
        process.communicate()
    raise ValueError(f"the training ended without a step: {' '.join(said[-3:])}")


def measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"empty cache": [], "second start": []}
    for _ in range(ROUNDS.value):
        with tempfile.TemporaryDirectory() as folder:
            for i, name in enumerate(found):
                command = [
                    sys.executable, "train.py", "--config", CONFIG.value,
                    "--workdir", f"{folder}/run{i}", f"--config.data_dir={DATA_DIR.value}",
                    f"--config.dataset={DATASET.value}",
                ]  # fmt: skip
                found[name].append(seconds_to_first_step(command, Path(folder, "xla")))
    return found


def main() -> None:
    seconds = measure()  # before this process takes the device
    result = machine.facts() | {"config": CONFIG.value, "seconds": seconds}
    rows = [
        [name, f"{sorted(values)[len(values) // 2]:.1f}", f"{min(values):.1f} to {max(values):.1f}"]
        for name, values in result["seconds"].items()
    ]
    header = ["start", "median, s", "range, s"]
    lines = [f"`{CONFIG.value}` on {DATASET.value}.", "", *tables.markdown(header, rows)]
    print(tables.save(OUT.value, result, "Start to first step", lines))


if __name__ == "__main__":
    command.run(main)
