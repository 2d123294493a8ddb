"""Kills, damage, full disks and crowds, as docs/reliability.md promises to stand: `make chaos`.

  python -m benchmarks.chaos [--kills 100 --cases 1000000 --images 10000 --requests 50]

Hours at full size. Each part's figures go to --out when it ends, in place of its last ones, and from
there into the table of docs/reliability.md.
Exit code 1 if something did not hold.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.about import ROOT, about, commit
from benchmarks.chaos import disks, fuzz, kills, page, report
from benchmarks.chaos.place import Place
from fss_jax.runtime.files import write_json

PARTS = ("training", "labelling", "memory", "disks", "fuzz", "page")


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--kills", type=int, default=100, help="of a training, and of a labelling")
    flags.add_argument(
        "--cases", type=int, default=1_000_000, help="mutated files over all readers"
    )
    flags.add_argument("--images", type=int, default=10_000, help="labelled with flat memory")
    flags.add_argument("--requests", type=int, default=50, help="of the page, at a time")
    flags.add_argument("--parts", default=",".join(PARTS), help="which of them")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--out", type=Path, default=ROOT / "docs/results/chaos.json")
    flags.add_argument("--page", type=Path, default=ROOT / "docs/reliability.md")
    given = flags.parse_args()
    parts = given.parts.split(",")
    if set(parts) - set(PARTS):
        flags.error(f"--parts are some of {','.join(PARTS)}")
    held, code = True, commit()
    with tempfile.TemporaryDirectory(prefix="chaos_", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder), images=20)
        run = {
            "training": lambda: kills.training(place, given.kills, given.seed),
            "labelling": lambda: kills.labelling(place, given.kills, given.seed),
            "memory": lambda: kills.flat_memory(place, given.images, given.seed),
            "disks": lambda: disks.run(place),
            "fuzz": lambda: fuzz.run(place, given.cases, given.seed),
            "page": lambda: page.run(place, given.requests),
        }
        for name in parts:
            began = time.monotonic()
            part = run[name]()
            print(json.dumps({name: part}), flush=True)
            held &= part.get("ok") is not False
            this_run = about("benchmarks.chaos", time.monotonic() - began, code)
            # Another seed is another run, beside the first.
            which = f"{name}, seed {given.seed}" if given.seed else name
            _keep(given.out, which, {"about": this_run, **part})
            if given.page.is_file():
                report.write(given.page, given.out)
    sys.exit(not held)


def _keep(out: Path, name: str, part: dict) -> None:
    """Puts a part into the file of all parts."""
    known = json.loads(out.read_text()) if out.is_file() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {**known, name: part})


if __name__ == "__main__":
    main()
