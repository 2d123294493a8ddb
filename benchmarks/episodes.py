"""Speed of methods: training, inference, and segmenting with the support cached.

python -m benchmarks.episodes --out runs/speed/episodes
python -m benchmarks.episodes --cases oslsm,relation --shots 1 --batches 1 --width 0.25 --size 96

Random images lie on the device. A call includes gathering and warping them, the network, and for
inference the confusion counts that a score needs. MFU refers to the matrix rate that this device
reaches in the same run.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import cases, command, machine, tables
from benchmarks.timing import in_turn
from fss_jax import methods
from fss_jax.data import feed
from fss_jax.data.view import View
from fss_jax.runtime import memory, messages
from fss_jax.runtime.devices import AXIS, replicate
from fss_jax.scoring import evaluation, protocols
from fss_jax.scoring.metrics import confusion
from fss_jax.training import loop
from fss_jax.training.optimizers import make_optimizer

CASES = flags.DEFINE_list("cases", ["oslsm", "relation"], f"of {', '.join(cases.CASES)}")
MODES = flags.DEFINE_list("modes", ["train", "infer", "cached"], "which of them to time")
SHOTS = flags.DEFINE_list("shots", ["1", "5"], "supports per episode")
BATCHES = flags.DEFINE_list("batches", ["1", "8", "32", "64"], "episodes, or images if cached")
DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "compute types")
WIDTH = flags.DEFINE_float("width", 1.0, "channel multiplier")
SIZE = flags.DEFINE_integer("size", 0, "sides of all images in pixels; 0: as published")
REMAT = flags.DEFINE_boolean("remat", False, "config.remat")
REPEATS = flags.DEFINE_integer("repeats", 10, "timed calls of a row")
BUDGET = flags.DEFINE_float("budget", 60.0, "seconds for the calls of a row; at least 3 are made")
OUT = flags.DEFINE_string("out", "runs/speed/episodes", "writes OUT.json and OUT.md")

TRAINING = 3  # a training step's products, in forward passes (performance.md)


@dataclasses.dataclass
class Work:
    """One row: a compiled function's call, and what it does.

    Attributes:
      lowered: of the function, for XLA's analyses.
      prepare: compiled function -> (call that blocks, seconds it waited for data so far).
      gmacs: of one call.
      episodes, images: of one call.
    """

    lowered: Any
    prepare: Callable[[Any], tuple[Callable[[], Any], Callable[[], float]]]
    gmacs: float
    episodes: int
    images: int


def train(loaded: cases.Loaded, batch: int) -> Work:
    """One optimizer step on records that the feed hands over, as training makes it."""
    config = loaded.config
    config.batch = batch
    devices = jax.local_devices()[:1]
    step = loop.make_train_step(loaded.model, make_optimizer(config), config)
    run = jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=0)
    bank = replicate(loaded.bank, devices)
    state = replicate(loaded.state(), devices)
    plan = feed.Plan(1, batch, devices)
    batches = feed.bank_feed(bank, loaded.sampler(), plan, 0, 1_000_000)
    lowered = run.lower(state, *next(batches))

    def prepare(compiled):
        now, waited = [state], [0.0]

        def call():
            before = time.perf_counter()
            data = next(batches)
            waited[0] += time.perf_counter() - before
            now[0], measured = compiled(now[0], *data)
            jax.block_until_ready(measured)

        return call, lambda: waited[0]

    macs = TRAINING * sum(loaded.gmacs(config.queries)) * batch
    return Work(lowered, prepare, macs, batch, batch * (config.shots + config.queries))


def _view(config) -> View:
    protocol = dataclasses.replace(protocols.get("uniform"), score_size=config.query_size)
    return protocol.view(config)


def infer(loaded: cases.Loaded, batch: int) -> Work:
    """Episodes of one query, scored: what `fss evaluate` does per call, counts brought to the host."""
    config = loaded.config
    view = _view(config)

    def score(variables, bank, support, query):
        episode = view.episode(bank, support, query)
        logits = evaluation.predict(loaded.model, variables, episode, view)
        return confusion(logits > 0, episode.query_mask, episode.query_valid)

    records = loaded.sampler().records(0, batch)
    arguments = jax.device_put((loaded.variables, loaded.bank))
    chosen = records.support, records.query[:, :1]

    def prepare(compiled):
        return lambda: np.asarray(compiled(*arguments, *jax.device_put(chosen))), lambda: 0.0

    lowered = jax.jit(score).lower(*arguments, *chosen)
    macs = sum(loaded.gmacs(1)) * batch
    return Work(lowered, prepare, macs, batch, batch * (config.shots + 1))


def cached(loaded: cases.Loaded, batch: int) -> Work:
    """Images segmented by one task, as labelling does; masks stay on the device."""
    config = loaded.config
    view = _view(config)

    def condition(variables, bank, support):
        episode = view.episode(bank, support, support[:, :1])
        shown = episode.support_image, episode.support_mask
        return loaded.model.apply(variables, *shown, method="condition")

    def segment(variables, bank, task, query):
        images = view.episode(bank, query[:, :1], query).query_image
        return loaded.model.apply(variables, task, images, method="segment") > 0

    arguments = jax.device_put((loaded.variables, loaded.bank))
    support = np.arange(config.shots, dtype=np.int32)[None]
    query = (np.arange(batch, dtype=np.int32) % cases.IMAGES)[None]
    task = jax.jit(condition)(*arguments, support)

    def prepare(compiled):
        def call():
            return jax.block_until_ready(compiled(*arguments, task, jax.device_put(query)))

        return call, lambda: 0.0

    lowered = jax.jit(segment).lower(*arguments, task, query)
    return Work(lowered, prepare, loaded.gmacs(batch)[1], batch, batch)


WORKS = {"train": train, "infer": infer, "cached": cached}


def row(work: Work, rate: float) -> dict:
    """Compiles and times one row.

    Args:
      rate: FLOP/s of a matrix product of the same type on this device.
    """
    before = time.perf_counter()
    compiled = work.lowered.compile()
    compile_seconds = time.perf_counter() - before
    cost = compiled.cost_analysis() or {}
    cost = cost[0] if isinstance(cost, list) else cost
    space = compiled.memory_analysis()
    call, waited = work.prepare(compiled)
    timing = in_turn({"row": call}, REPEATS.value, BUDGET.value)["row"]
    waiting, start = waited(), time.perf_counter()
    call()
    waiting = (waited() - waiting) / (time.perf_counter() - start)
    flop = 2e9 * work.gmacs
    return {
        **timing.facts(),
        "episodes_per_second": work.episodes / timing.median,
        "images_per_second": work.images / timing.median,
        "gflop_per_episode": flop / 1e9 / work.episodes,
        "mfu": flop / timing.median / rate,
        "mfu_of_best": flop / timing.best / rate,
        "wait_share": waiting,
        "compile_seconds": compile_seconds,
        "xla_gflop": cost.get("flops", 0.0) / 1e9 / work.episodes,
        "xla_gigabytes": cost.get("bytes accessed", 0.0) / 1e9,
        "argument_bytes": space.argument_size_in_bytes,
        "temporary_bytes": space.temp_size_in_bytes,
        "peak_bytes": machine.peak_bytes(),
    }


def rows(rates: dict[str, float]) -> Iterator[dict]:
    """Every combination of the flags; a batch that does not fit is a row that says so."""
    for name in CASES.value:
        for dtype in DTYPES.value:
            for shots in map(int, SHOTS.value):
                sizes = {"width": WIDTH.value, "size": SIZE.value, "remat": REMAT.value}
                loaded = cases.Loaded(cases.get_config(name, shots=shots, dtype=dtype, **sizes))
                untrained = not methods.get(loaded.config.method).trained
                for mode in (m for m in MODES.value if not (untrained and m == "train")):
                    for batch in map(int, BATCHES.value):
                        known = {"case": name, "mode": mode, "shots": shots, "batch": batch}
                        known |= {"dtype": dtype, **sizes}
                        try:
                            measured = row(WORKS[mode](loaded, batch), rates[dtype])
                        except jax.errors.JaxRuntimeError as error:
                            if not memory.is_exhausted(error):
                                raise
                            yield known | {"does_not_fit": str(error).splitlines()[0]}
                            break  # nor does a larger one
                        yield known | measured


def table(result: dict) -> list[str]:
    """The rows as Markdown."""
    header = (
        "case mode shots batch dtype ep/s img/s GFLOP/ep MFU%(best) quartiles,ms wait% "
        "compile,s arguments,GiB temporary,GiB peak,GiB"
    ).split()
    lines = []
    for r in result["rows"]:
        cells = [r["case"], r["mode"], str(r["shots"]), str(r["batch"]), r["dtype"]]
        if "does_not_fit" in r:
            lines.append([*cells, "does not fit"] + [""] * (len(header) - len(cells) - 1))
            continue
        low, high = (1e3 * value for value in r["quartiles_s"])
        cells += [f"{r['episodes_per_second']:.3g}", f"{r['images_per_second']:.3g}"]
        cells += [f"{r['gflop_per_episode']:.1f}"]
        cells += [f"{100 * r['mfu']:.0f} ({100 * r['mfu_of_best']:.0f})"]
        cells += [f"{low:.0f} to {high:.0f}", f"{100 * r['wait_share']:.1f}"]
        cells += [f"{r['compile_seconds']:.1f}"]
        cells += [
            machine.gibibytes(r[name])
            for name in ("argument_bytes", "temporary_bytes", "peak_bytes")
        ]
        lines.append(cells)
    rates = ", ".join(f"{v / 1e9:.0f} GFLOP/s {k}" for k, v in result["matrix_rate"].items())
    note = "" if WIDTH.value == 1 else f" Channels at {WIDTH.value:g} of the published width."
    note += f" Images of {SIZE.value} px." if SIZE.value else ""
    return [
        f"Matrix rate of this device, which MFU refers to: {rates}.{note} Compiling is counted with the "
        "persistent cache on; peak is the process's so far.",
        "",
        *tables.markdown([name.replace(",", ", ") for name in header], lines),
    ]


def main() -> None:
    for flag, known in ((MODES, WORKS), (DTYPES, ("float32", "bfloat16")), (CASES, cases.CASES)):
        for value in flag.value:
            if value not in known:
                raise ValueError(
                    f"--{flag.name} has {value!r}; expected some of {', '.join(known)}"
                )
    messages.use_compilation_cache()
    facts = machine.facts()
    rates = {dtype: machine.matrix_rate(dtype) for dtype in DTYPES.value}
    found = []
    for measured in rows(rates):
        found.append(measured)
        what = " ".join(str(measured[k]) for k in ("case", "mode", "shots", "batch", "dtype"))
        speed = measured.get("episodes_per_second")
        print(what, f"{speed:.3g} ep/s" if speed else "does not fit", flush=True)
        result = {**facts, "matrix_rate": rates, "rows": found}
        text = tables.save(OUT.value, result, "Episodes per second", table(result))
    print(text)


if __name__ == "__main__":
    command.run(main)
