"""Measures on an accelerator whatever fits into a budget of seconds; a second call goes on.

python -m benchmarks.accelerator --budget 540 --out docs/results/speed_accelerator
python -m benchmarks.accelerator --plan --budget 540       # what it would do on an H100
python -m benchmarks.accelerator --toy                     # on a CPU, one row of each kind
python -m benchmarks.accelerator --toy --all               # on a CPU, every row of the plan, tiny
python -m benchmarks.accelerator --only scan,shard_map     # only rows that are so described

Needs no files and no network. docs/accelerators.md says how to read what it writes.
"""

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

PLATFORMS = os.environ.get("JAX_PLATFORMS")
os.environ["JAX_PLATFORMS"] = (
    "cpu"  # of this process, which only counts; the device is the worker's
)

from benchmarks import tables  # noqa: E402
from benchmarks.accelerator import plan, report  # noqa: E402
from benchmarks.rows import Row, from_facts  # noqa: E402
from fss_jax.runtime import messages  # noqa: E402

LEAST = 60.0  # seconds that a row may take before it is stopped, whatever was estimated
SLACK = 4  # times its estimate that a row may take


class Worker:
    """A process with the device, its answers, and the last line that it complained of."""

    def __init__(self, given: dict, xla_flags: str = ""):
        env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip()}
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # PyTorch needs room beside JAX
        env.pop("JAX_PLATFORMS")
        if PLATFORMS is not None:
            env["JAX_PLATFORMS"] = PLATFORMS
        self.xla_flags, self.answers, self.said = xla_flags, queue.Queue(), ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.accelerator.worker", json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env=env,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        self._errors = threading.Thread(target=self._listen, daemon=True)
        self._errors.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put(None)
        self.answers.put(None)  # whoever asks once more is told again

    def _listen(self) -> None:
        for line in self.process.stderr:
            self.said = line.strip() or self.said

    def ask(self, row: Row, seconds: float) -> dict:
        try:
            self.process.stdin.write(json.dumps(row.facts()) + "\n")
            self.process.stdin.flush()
        except OSError:  # it ended before; so `answer` finds
            pass
        return self.answer(seconds)

    def answer(self, seconds: float) -> dict:
        """The next answer, or why there is none; then the process has ended."""
        try:
            found = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            return {"failed": f"stopped after {seconds:.0f} s"}
        if found is None:
            code = self.process.wait()
            self._errors.join(5)
            return {
                "failed": f"the process ended with {code}: {self.said[-150:]}".replace("|", "/")
            }
        return found

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def before(out: str, facts: dict) -> list[dict]:
    """The rows that an earlier call measured on the same device with the same versions."""
    try:
        known = json.loads(Path(f"{out}.json").read_text())
    except FileNotFoundError:
        return []
    if all(known.get(name) == facts[name] for name in ("device", "versions")):
        return [row for row in known["rows"] if "failed" not in row]
    print(f"{out}.json is of {known.get('device')}: it is written anew", flush=True)
    return []


def run(wanted: Iterable[Row], given: argparse.Namespace, start: float) -> dict:
    """Measures the rows in their order while the budget lasts; writes the files after each.

    Args:
      given: what `flags` says.
      start: time.monotonic() of the call.

    Raises:
      ValueError: no device, or none that the rows are for.
    """

    def remaining() -> float:
        return given.budget - plan.CLOSING - (time.monotonic() - start)

    settings = {
        "toy": given.toy,
        "repeats": 3 if given.toy else given.repeats,
        "row_budget": 5.0 if given.toy else 20.0,
    }
    worker = Worker(settings)
    facts = worker.answer(max(1.0, remaining()))
    if "failed" in facts:
        raise ValueError(f"no device could be measured: {facts['failed']}")
    if "cpu" in facts["device"] and not (given.toy or given.cpu):
        worker.stop()
        raise ValueError(
            f"JAX finds no accelerator here ({facts['device']}): install the extra of your device, try "
            "--toy, or say --cpu for full-size rows on a CPU"
        )
    settings["rates"] = facts["matrix_rate"]
    # The command is what this process was called by, not how it called the worker.
    result = facts | {"command": messages.command_line(), "budget_s": given.budget}
    result |= {"rows": before(given.out, facts), "left_out": []}
    measured = {from_facts(row) for row in result["rows"]}
    off = [1.0]  # by which factor the estimates were off
    available = int(facts["device"].split(" ")[0])
    wanted = list(wanted)
    for number, row in enumerate(wanted, 1):
        if row in measured or row.devices > available:
            if row.devices > available:
                result["left_out"].append(f"{row}: {available} devices are here")
            continue
        guess = 1.0 if given.toy else plan.seconds(row, facts["matrix_rate"])
        takes = guess * statistics.median(off)
        if takes > remaining():
            result["left_out"].append(f"{row}: about {takes:.0f} s")
            continue
        xla_flags = row.switch if row.switch.startswith("--xla") else ""
        if not worker.alive or worker.xla_flags != xla_flags:
            worker.stop()
            worker = Worker(settings, xla_flags)
            worker.answer(max(1.0, remaining()))
        began = time.monotonic()
        most = remaining() if given.toy else min(remaining(), max(LEAST, SLACK * takes))
        found = worker.ask(row, max(1.0, most))
        took = time.monotonic() - began
        if "failed" not in found:
            off.append(min(4.0, max(0.25, took / guess)))
        result["rows"].append(row.facts() | {"row_seconds": took} | found)
        speed = found.get("episodes_per_second")
        print(
            f"{row}: {found.get('failed') or (f'{speed:.4g} ep/s' if speed else 'done')}",
            flush=True,
        )
        # Whoever kills this process finds what it did not come to.
        waiting = [f"{row}: not reached" for row in wanted[number:] if row not in measured]
        so_far = result | {"left_out": result["left_out"] + waiting}
        tables.save(given.out, so_far, "On an accelerator", report.table(so_far))
    worker.stop()
    result["seconds"] = time.monotonic() - start
    print(tables.save(given.out, result, "On an accelerator", report.table(result)))
    return result


def chosen(given: argparse.Namespace) -> list[Row]:
    """The rows that the flags ask for.

    Raises:
      ValueError: --only names what no row is described by.
    """
    wanted = list(plan.toy_rows() if given.toy and not given.all else plan.rows())
    if given.toy and given.all:
        wanted = list(plan.shrunk(wanted))
    known = {part for row in wanted for part in str(row).split(", ")}
    for only in given.only:
        asked = {part.strip() for part in only.split(",")}
        if asked - known:
            raise ValueError(
                f"--only {only}: no row is described by {', '.join(sorted(asked - known))}; "
                f"expected some of {', '.join(sorted(known))}"
            )
        wanted = [row for row in wanted if asked & set(str(row).split(", "))]
    return wanted


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, default=540.0, help="seconds in all")
    parser.add_argument("--plan", action="store_true", help="only list rows and seconds")
    parser.add_argument("--toy", action="store_true", help="one tiny row of each kind")
    parser.add_argument("--all", action="store_true", help="with --toy: every row of the plan")
    parser.add_argument(
        "--only", action="append", default=[],
        help="rows whose description has one of these parts, with commas between; twice: of both",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of a row")
    parser.add_argument("--cpu", action="store_true", help="full-size rows on a CPU, too")
    parser.add_argument("--out", default="runs/speed/accelerator", help="writes OUT.json, OUT.md")
    return parser


def main() -> None:
    start, given = time.monotonic(), flags().parse_args()
    with messages.boundary():
        wanted = chosen(given)
        if given.plan:
            print("\n".join(plan.table(wanted, given.budget)))
        else:
            run(wanted, given, start)


if __name__ == "__main__":
    main()
