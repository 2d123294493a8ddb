"""Training on 1, 2, 4 and 8 devices, weak and strong, and a calculation up to 256.

NPROC=16 XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.scaling
python -m benchmarks.scaling --calculate_only

Fake CPU devices share the same cores: they show that the step runs and what its messages cost, not
that it gets faster. The calculation states its assumptions in the table.
"""

import jax
from absl import flags

from benchmarks import cases, command, interconnect, machine, tables, works
from benchmarks.rows import Row
from benchmarks.timing import in_turn
from fss_jax.runtime import messages

CASES = flags.DEFINE_list("cases", list(cases.PUBLISHED), "METHOD/NAME of fss_jax/configs")
DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "numbers of devices")
BATCH = flags.DEFINE_integer("batch", 8, "episodes: of each device (weak), of all (strong)")
WIDTH = flags.DEFINE_float("width", 1.0, "channel multiplier")
SIZE = flags.DEFINE_integer("size", 0, "sides of all images in pixels; 0: as published")
REPEATS = flags.DEFINE_integer("repeats", 10, "timed steps of a row")
BUDGET = flags.DEFINE_float("budget", 60.0, "seconds for the steps of a row; at least 3 are made")
CALCULATE_ONLY = flags.DEFINE_boolean("calculate_only", False, "measure nothing")
OUT = flags.DEFINE_string("out", "runs/speed/scaling", "writes OUT.json and OUT.md")


def step_seconds(name: str, count: int, batch: int) -> dict:
    """Times steps of `batch` episodes on each of `count` devices."""
    row = Row(name, "train", 1, batch, width=WIDTH.value, size=SIZE.value, devices=count)
    work = works.train(row)
    call, _ = work.prepare(work.lowered.compile())
    return in_turn({"step": call}, REPEATS.value, BUDGET.value)["step"].facts()


def measure() -> list[dict]:
    rows = []
    for name in CASES.value:
        for kind in ("weak", "strong"):
            for count in map(int, DEVICES.value):
                batch = BATCH.value if kind == "weak" else BATCH.value // count
                if count > len(jax.local_devices()) or not batch:
                    print(f"{name} {kind}: {count} devices are not here or too many for the batch")
                    continue
                facts = step_seconds(name, count, batch)
                rate = batch * count / facts["median_s"]
                known = {"case": name, "scaling": kind, "devices": count, "batch_per_device": batch}
                rows.append({**known, **facts, "episodes_per_second": rate})
                print(f"{name} {kind} {count}: {rate:.3g} ep/s", flush=True)
    return rows


def table(result: dict) -> list[str]:
    """Measured and calculated rows as Markdown."""
    lines = []
    if result["measured"]:
        note = f"Width {WIDTH.value:g}, " + (
            f"{SIZE.value} px" if SIZE.value else "published sizes"
        )
        header = [
            "case",
            "scaling",
            "devices",
            "batch each",
            "ep/s",
            "step, ms (quartiles)",
            "to 1",
        ]
        rows = []
        for r in result["measured"]:
            low, high = (1e3 * value for value in r["quartiles_s"])
            one = next(
                other
                for other in result["measured"]
                if (other["case"], other["scaling"]) == (r["case"], r["scaling"])
            )
            gain = r["episodes_per_second"] / one["episodes_per_second"]
            rows.append([
                r["case"], r["scaling"], str(r["devices"]), str(r["batch_per_device"]),
                f"{r['episodes_per_second']:.3g}",
                f"{1e3 * r['median_s']:.0f} ({low:.0f} to {high:.0f})", f"{gain:.2f}",
            ])  # fmt: skip
        lines += [f"## Measured\n\n{note}.", "", *tables.markdown(header, rows), ""]
    return lines + interconnect.table(result["calculated"])


def main() -> None:
    messages.use_compilation_cache()
    result = machine.facts() | {
        "calculated": [
            row
            for name in CASES.value
            for b in interconnect.BATCHES
            for row in interconnect.calculate(name, b)
        ],
        "measured": [] if CALCULATE_ONLY.value else measure(),
    }
    print(tables.save(OUT.value, result, "Many devices", table(result)))


if __name__ == "__main__":
    command.run(main)
