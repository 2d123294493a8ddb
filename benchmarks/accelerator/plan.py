"""Which rows are measured, the cheap and important first, and how long each should take.

Seconds are estimated from the counted work at an assumed share of an H100's rates, and from guesses of
how long XLA compiles; what a run measures corrects the guesses of the rows after it.
"""

import dataclasses
import functools
from collections.abc import Iterator

from benchmarks import cases, works
from benchmarks.accelerator import forms
from benchmarks.rows import Row
from benchmarks.works import TRAINING
from fss_jax import configs, methods
from fss_jax.methods.backbones import vit
from fss_jax.reports import model_summary

# FLOP/s of large products: bfloat16 as METHOD notes and performance.md saw on an H100 and an H200; the
# others by the vendor's ratios to it. Until the device's own are measured.
H100 = {"bfloat16": 790e12, "tensorfloat32": 395e12, "float32": 54e12}
SHARE = 0.35  # of them that is reached; a guess on the careful side
START = 25.0  # seconds to start a process on the device and to measure its rates
CLOSING = 5.0  # seconds kept for the end
RESTART = 12.0  # seconds to start a process with other XLA flags
SETUP = 4.0  # seconds to make a method's weights and images
# Seconds of compiling, autotuning and the first calls: guesses.
COMPILING = {
    "train": 40.0, "infer": 12.0, "cached": 10.0, "gather": 3.0, "features": 8.0, "label": 20.0,
    "exhaustive": 30.0, "profile": 45.0, "forms": 8.0, "torch train": 60.0, "torch infer": 50.0,
    "torch cached": 40.0, "torch label": 40.0,
}  # fmt: skip
CALLS = 14  # warm-up, timed calls and the one that waiting is read from
BATCHES = (1, 8, 32, 64)
XLA_FLAGS = (
    "--xla_gpu_enable_latency_hiding_scheduler=true",
    "--xla_gpu_autotune_level=0",
    "--xla_gpu_autotune_level=4",
)
TRANSFORMERS = ("dinov2_vits14", "dinov2_vitb14")


def other_methods() -> list[str]:
    """One config at published size, or several, of every few-shot method that is not in PUBLISHED."""
    known = {name.partition("/")[0] for name in cases.PUBLISHED}
    found = []
    for method in methods.names():
        if method in known or not methods.get(method).few_shot:
            continue
        own = [name for name in configs.names() if name.startswith(f"{method}/")]
        large = [name for name in own if "vgg16" in name and methods.get(method).trained]
        found += large or [n for n in own if not n.endswith(("small", "squeezenet", "alexnet"))]
    return found


def _modes(case: str) -> list[str]:
    trained = methods.get(configs.get(case).method).trained
    return ["infer", "train"] if trained else ["infer"]


def rows() -> Iterator[Row]:
    """All rows in the order of their importance; those of one case together where it costs nothing."""
    oslsm, relation = cases.PUBLISHED
    main = [(oslsm, 1), (relation, 5)]
    bf16 = {"dtype": "bfloat16"}
    for case, shots in main:
        for mode in ("infer", "cached", "train"):
            yield Row(case, mode, shots, 8, **bf16)
    yield Row(relation, "label", 5, 32, images=500, **bf16)
    for case, shots in main:
        yield Row(case, "gather", shots, 8, **bf16)
    for name in forms.FORMS:
        yield Row(name, "forms", batch=32, **bf16)
    for case, shots in main:
        yield Row(case, "profile", shots, 8, **bf16)
    for case, shots in main:
        for mode in ("torch infer", "torch train"):
            yield Row(case, mode, shots, 8, **bf16)
    yield Row(relation, "torch label", 5, 8, images=64, **bf16)
    yield Row(relation, "exhaustive", 1, images=2400, **bf16)
    for batch in (32, 64, 1):
        for case, shots in main:
            for mode in ("infer", "cached", "train"):
                yield Row(case, mode, shots, batch, **bf16)
    for case in other_methods():
        for mode in _modes(case):
            yield Row(case, mode, 1, 8, **bf16)
    for arch in TRANSFORMERS:
        yield Row(arch, "features", batch=8, **bf16)
    for case, shots in main:
        for mode in ("infer", "cached", "train"):
            yield Row(case, mode, shots, 8, precision="tensorfloat32")
    for case, shots in main:
        for mode in ("infer", "cached", "train"):
            yield Row(case, mode, shots, 8)
    for switch in ("unblocked", "scan", "not donated", "shard_map"):
        for case, shots in main:
            yield Row(case, "train", shots, 8, switch=switch, **bf16)
    for flags in XLA_FLAGS:
        for case, shots in main:
            yield Row(case, "train", shots, 8, switch=flags, **bf16)
    for case, shots in main:
        for batch in BATCHES:
            for mode in ("infer", "cached", "train"):
                yield Row(case, mode, 6 - shots, batch, **bf16)  # the other number of shots
    for case, shots in main:  # several devices, where they are
        for switch in ("", "shard_map", "bfloat16 gradients", XLA_FLAGS[0]):
            yield Row(case, "train", shots, 8, devices=8, switch=switch, **bf16)
    for kind in ("tensorfloat32", "float32"):
        for case, shots in main:
            for batch in (32, 64, 1):
                for mode in ("infer", "cached", "train"):
                    yield Row(case, mode, shots, batch, precision=kind)


def toy_rows() -> Iterator[Row]:
    """One of each kind, as small as they get: what a CPU does in a minute."""
    oslsm, relation = cases.PUBLISHED
    tiny = {"width": 1 / 32, "size": 32}
    yield Row(relation, "infer", 1, 2, **tiny)
    yield Row(relation, "train", 1, 1, **tiny, switch="unblocked")
    yield Row(relation, "label", 1, 2, images=5, **tiny)
    yield Row(relation, "exhaustive", 1, images=8, **tiny)
    yield Row(relation, "profile", 1, 1, **tiny)
    yield Row(relation, "torch infer", 1, 1, **tiny)
    yield Row(oslsm, "cached", 1, 1, dtype="bfloat16", **tiny)
    yield Row(next(iter(forms.FORMS)), "forms", size=8)
    yield Row(relation, "train", 1, 1, devices=64, **tiny)  # of which there are fewer


def _tiny(row: Row) -> Row:
    least = 64 if row.case.startswith("guided/") else 32  # whose fc6 has a window of seven cells
    small = {"width": 1 / 32, "size": {"forms": 8, "features": 56}.get(row.mode, least)}
    known = configs.get(row.case).model if row.case in configs.names() else {}
    make = vit.VARIANTS.get(known.get("backbone", ""))
    if make is not None:  # of one width, and on whole patches
        small = {"width": 1.0, "size": 2 * make().patch}
    batch, images = min(row.batch, 2), min(row.images, 10)
    return dataclasses.replace(row, batch=batch, images=images, **small)


def shrunk(wanted: Iterator[Row]) -> Iterator[Row]:
    """Each row once, with everything about it small: what tries a plan on a CPU."""
    yield from dict.fromkeys(map(_tiny, wanted))


@functools.lru_cache(maxsize=256)
def gmacs(case: str, shots: int, queries: int, changes: tuple = ()) -> tuple[float, float]:
    """Billions of MACs of an episode's support and of its queries (see docs/performance.md)."""
    config = cases.get_config(case, shots=shots, changes=dict(changes))
    episode = model_summary.episode_shapes(
        shots=config.shots,
        queries=queries,
        support_size=config.support_size,
        query_size=config.query_size,
    )
    model = methods.build_from(config)
    shapes = model_summary.variable_shapes(model, episode)
    condition, segment = model_summary.macs_of_halves(model, shapes, episode)
    return condition / 1e9, segment / 1e9


def work(row: Row) -> float:
    """FLOP of one call of a row on one device; 0 where compiling is nearly all that it takes."""
    mode = row.mode.removeprefix("torch ")
    if mode in ("gather", "forms") or row.case in vit.VARIANTS:
        return 0.0
    if mode in ("train", "profile"):
        config = configs.get(row.case)
        macs = TRAINING * sum(gmacs(row.case, row.shots, config.queries, row.changes)) * row.batch
    else:
        condition, segment = gmacs(row.case, row.shots, 1, row.changes)
        images = row.images or row.batch
        macs = {
            "infer": (condition + segment) * row.batch,
            "cached": segment * row.batch,
            "label": condition + segment * images,
            # An image is encoded twice, with a mask and without; nine supports meet each query.
            "exhaustive": (condition + segment + 8 * max(segment - condition, 0.0)) * images,
        }[mode]
    return 2e9 * macs


def seconds(row: Row, rates: dict[str, float] = H100, share: float = SHARE) -> float:
    """An estimate of a row's seconds.

    Args:
      rates: of the device, by `Row.rate`.
      share: of a rate that the row reaches.
    """
    times = CALLS * (4 if row.mode.startswith("torch ") else 1)  # eager and compiled, slower
    fixed = SETUP + COMPILING[row.mode] + (RESTART if row.switch.startswith("--xla") else 0.0)
    if row.switch in works.SWITCHES:  # in turn with the usual step; that is compiled already
        times *= 1 + (works.SEVERAL if row.switch in ("scan", "unblocked") else 1)
    return fixed + times * work(row) / (rates[row.rate] * share)


def bound(row: Row, rates: dict[str, float] = H100) -> float:
    """Seconds of one call at the full matrix rate: no version is faster."""
    return work(row) / rates[row.rate]


Planned = tuple[float, Row]  # seconds after the start, and what begins then


def calls(wanted: list[Row], budget: float) -> tuple[list[list[Planned]], list[Row]]:
    """The rows of each call of the same command, and those that no call has time for.

    As in `run`: a row that the rest of a budget is too short for waits, and cheaper ones go before it.
    """
    found = []
    while wanted:
        now, taken, waiting = START, [], []
        for row in wanted:
            takes = seconds(row)
            if now + takes > budget - CLOSING:
                waiting.append(row)
            else:
                taken.append((now, row))
                now += takes
        if not taken:
            break
        found.append(taken)
        wanted = waiting
    return found, wanted


def table(wanted: list[Row], budget: float) -> list[str]:
    """The plan as lines: the rows of each call in order, and when each should start on an H100."""
    lines = [f"{'call':>4} {'from, s':>8} {'takes, s':>8} {'bound of a call, ms':>20}  row"]
    planned, never = calls(wanted, budget)
    for number, taken in enumerate(planned, 1):
        for now, row in taken:
            bounded = f"{1e3 * bound(row):20.2f}" if work(row) else f"{'':20}"
            lines.append(f"{number:4} {now:8.0f} {seconds(row):8.0f} {bounded}  {row}")
        left = sum(map(len, planned[number:])) + len(never)
        end = taken[-1][0] + seconds(taken[-1][1])
        lines.append(
            f"Call {number} of {budget:g} s ends after {end:.0f} s: {len(taken)} rows, {left} left."
        )
    lines += [f"No call of {budget:g} s has time for: {row}, {seconds(row):.0f} s" for row in never]
    several = sum(row.devices > 1 for row in wanted)
    lines += [f"{several} of them are left out where fewer than 8 devices are."] if several else []
    return lines
