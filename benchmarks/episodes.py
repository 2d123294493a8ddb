"""Speed of methods: training, inference, and segmenting with the support cached.

python -m benchmarks.episodes --out runs/speed/episodes
python -m benchmarks.episodes --cases oslsm/release --shots 1 --batches 1 --width 0.25 --size 96

MFU refers to the matrix rate that this device reaches in the same run.
"""

from collections.abc import Iterator

import jax
from absl import flags

from benchmarks import cases, command, machine, tables, works
from benchmarks.rows import Row
from fss_jax import methods
from fss_jax.runtime import memory, messages, precision

CASES = flags.DEFINE_list("cases", list(cases.PUBLISHED), "METHOD/NAME of fss_jax/configs")
MODES = flags.DEFINE_list("modes", ["train", "infer", "cached"], f"of {', '.join(works.MODES)}")
SHOTS = flags.DEFINE_list("shots", ["1", "5"], "supports per episode")
BATCHES = flags.DEFINE_list("batches", ["1", "8", "32", "64"], "episodes, or images if cached")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "compute types")
PRECISION = flags.DEFINE_enum("precision", "float32", precision.NAMES, "of float32 products")
WIDTH = flags.DEFINE_float("width", 1.0, "channel multiplier")
SIZE = flags.DEFINE_integer("size", 0, "sides of all images in pixels; 0: as published")
REMAT = flags.DEFINE_boolean("remat", False, "config.remat")
REPEATS = flags.DEFINE_integer("repeats", 10, "timed calls of a row")
BUDGET = flags.DEFINE_float("budget", 60.0, "seconds for the calls of a row; at least 3 are made")
OUT = flags.DEFINE_string("out", "runs/speed/episodes", "writes OUT.json and OUT.md")


def rows(rates: dict[str, float]) -> Iterator[dict]:
    """Every combination of the flags; a batch that does not fit is a row that says so."""
    for case in CASES.value:
        trained = methods.get(cases.get_config(case).method).trained
        for dtype in DTYPES.value:
            for shots in map(int, SHOTS.value):
                for mode in (m for m in MODES.value if trained or m != "train"):
                    for batch in map(int, BATCHES.value):
                        row = Row(
                            case, mode, shots, batch, dtype, PRECISION.value, WIDTH.value,
                            SIZE.value, REMAT.value,
                        )  # fmt: skip
                        try:
                            found = works.measure(row, rates, REPEATS.value, BUDGET.value)
                        except jax.errors.JaxRuntimeError as error:
                            if not memory.is_exhausted(error):
                                raise
                            yield row.facts() | {"failed": tables.one_line(error)}
                            break  # nor does a larger one fit
                        yield row.facts() | found


def main() -> None:
    for flag, known in ((MODES, works.MODES), (DTYPES, ("float32", "bfloat16"))):
        for value in flag.value:
            if value not in known:
                raise ValueError(
                    f"--{flag.name} has {value!r}; expected some of {', '.join(known)}"
                )
    messages.use_compilation_cache()
    facts = machine.facts()
    kinds = {Row("", "", dtype=d, precision=PRECISION.value).rate for d in DTYPES.value}
    rates = {kind: machine.matrix_rate(kind) for kind in sorted(kinds)}
    found = []
    for measured in rows(rates):
        found.append(measured)
        what = " ".join(str(measured[k]) for k in ("case", "mode", "shots", "batch", "dtype"))
        speed = measured.get("episodes_per_second")
        print(what, f"{speed:.3g} ep/s" if speed else measured["failed"], flush=True)
        result = {**facts, "matrix_rate": rates, "rows": found}
        text = tables.save(OUT.value, result, "Episodes per second", tables.episodes(result))
    print(text)


if __name__ == "__main__":
    command.run(main)
