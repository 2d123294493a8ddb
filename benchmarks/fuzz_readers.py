"""An hour of new mutations for every reader of images, masks and annotations.

  python -m benchmarks.fuzz_readers [--minutes 60]

Repeats tests/labelling/test_fuzz_readers.py with other random files until the time is over. Exit code 1
if a reader failed; what hypothesis found is printed and kept in --out.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.about import ROOT, about, commit

TESTS = "tests/labelling/test_fuzz_readers.py"


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--minutes", type=float, default=60)
    flags.add_argument("--examples", type=int, default=300, help="of each reader and round")
    flags.add_argument("--out", type=Path, default=ROOT / "docs/results/fuzz_readers.json")
    given = flags.parse_args()
    began = time.monotonic()
    total = {"rounds": 0, "reads": 0, "refused": 0, "slowest_seconds": 0.0, "more_bytes": 0}
    faults: list[str] = []
    code = commit()
    while time.monotonic() - began < given.minutes * 60:
        with tempfile.NamedTemporaryFile() as counts:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS],
                cwd=ROOT, capture_output=True, text=True, check=False,
                env={**os.environ, "FSS_FUZZ": str(given.examples), "FSS_FUZZ_COUNT": counts.name},
            )  # fmt: skip
            found = json.loads(Path(counts.name).read_text() or "{}")
        total["rounds"] += 1
        for key in ("reads", "refused"):
            total[key] += found.get(key, 0)
        for key in ("slowest_seconds", "more_bytes"):
            total[key] = max(total[key], found.get(key, 0))
        if done.returncode:
            print(done.stdout, done.stderr, flush=True)
            faults += [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        this_run = about("benchmarks.fuzz_readers", time.monotonic() - began, code)
        this_run["seconds_of_computing"] = round(used.ru_utime + used.ru_stime)
        content = {"about": this_run, "ok": not faults, **total, "faults": faults}
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
