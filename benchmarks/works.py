"""A method's training step, its inference, and segmenting with the support cached: made and timed.

Random images lie on the device. A call includes gathering and warping them, the network, and for
inference the confusion counts that a score needs.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from benchmarks import cases, machine
from benchmarks.rows import Row
from benchmarks.timing import Timing, in_turn, ratio
from fss_jax.data import feed
from fss_jax.data.view import View
from fss_jax.runtime.devices import AXIS, local_devices, replicate
from fss_jax.scoring import evaluation, protocols
from fss_jax.scoring.metrics import confusion
from fss_jax.training import base_network, loop
from fss_jax.training.optimizers import make_optimizer

TRAINING = 3  # a training step's products, in forward passes (performance.md)
SEVERAL = 8  # steps of a call, of the switches that make more than one

# What a training step does otherwise than usual. Usual is one step a call, its state donated, and a
# host that waits for each.
SWITCHES = {
    "scan": f"{SEVERAL} steps a dispatch: the rest is what the host's calls cost",
    "unblocked": f"{SEVERAL} calls before the host waits: the rest is gaps that waiting leaves",
    "not donated": "the state is copied in every step",
    "shard_map": "jax.shard_map in place of jax.pmap",
    "bfloat16 gradients": "config.gradient_dtype: half the bytes of the all-reduce",
}


@dataclasses.dataclass
class Work:
    """What a row times: a compiled function's call.

    Attributes:
      lowered: of the function, for XLA's analyses.
      prepare: compiled function -> (call that blocks, seconds it waited for data so far).
      gmacs: of one call, over all devices.
      episodes, images: of one call.
    """

    lowered: Any
    prepare: Callable[[Any], tuple[Callable[[], Any], Callable[[], float]]]
    gmacs: float
    episodes: int
    images: int


@functools.lru_cache(maxsize=1)  # rows of one case follow each other; two would fill a device
def _loaded(row: Row) -> cases.Loaded:
    config = row.config()
    return cases.Loaded(config, base_network.learner_of(config))


def load(row: Row) -> cases.Loaded:
    """The row's method with fresh weights. The last one is kept: the next row may be of it, too."""
    usual = Row("", "")
    same = ("mode", "batch", "devices", "images", "switch")
    return _loaded(dataclasses.replace(row, **{name: getattr(usual, name) for name in same}))


def forget() -> None:
    """Lets go of the method that `load` kept, so that its memory is free."""
    _loaded.cache_clear()


def _sharded(step: Callable, devices: list[jax.Device]) -> Callable:
    """`jax.pmap(step)` of the training loop, by jax.shard_map."""
    own, every = PartitionSpec(AXIS), Mesh(np.asarray(devices), (AXIS,))

    def one(*args):  # each device's part has a leading axis of one
        found = step(*jax.tree.map(lambda x: x[0], args))
        return jax.tree.map(lambda x: x[None], found)

    mapped = jax.shard_map(one, mesh=every, in_specs=own, out_specs=own, check_vma=False)
    return jax.jit(mapped, donate_argnums=0)


def train(row: Row) -> Work:
    """Optimizer steps on records that the feed hands over, as training makes them."""
    loaded, devices = load(row), local_devices(row.devices)
    config = loaded.config.copy_and_resolve_references()
    config.batch = row.batch * len(devices)
    if row.switch == "bfloat16 gradients":
        config.gradient_dtype = "bfloat16"
    learner = base_network.learner_of(config)
    step = loop.make_train_step(loaded.model, make_optimizer(config), config, learner.loss)
    if row.switch == "shard_map":
        run = _sharded(step, devices)
    else:
        donated = () if row.switch == "not donated" else 0
        run = jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=donated)
    bank, now = replicate(loaded.bank, devices), [replicate(loaded.state(), devices)]
    plan = feed.Plan(SEVERAL if row.switch == "scan" else 1, row.batch, devices)
    batches = feed.bank_feed(bank, loaded.sampler(), plan, 0, 1_000_000)
    lowered = run.lower(now[0], *next(batches))
    calls = SEVERAL if row.switch == "unblocked" else 1

    def prepare(compiled):
        waited = [0.0]

        def call():
            for _ in range(calls):
                before = time.perf_counter()
                data = next(batches)
                waited[0] += time.perf_counter() - before
                now[0], measured = compiled(now[0], *data)
            jax.block_until_ready(measured)

        return call, lambda: waited[0]

    episodes = config.batch * plan.steps * calls
    macs = TRAINING * sum(loaded.gmacs(config.queries)) * episodes
    return Work(lowered, prepare, macs, episodes, episodes * (config.shots + config.queries))


def _view(config) -> View:
    protocol = dataclasses.replace(protocols.get("uniform"), score_size=config.query_size)
    return protocol.view(config)


def infer(row: Row) -> Work:
    """Episodes of one query, scored: what `fss evaluate` does per call, counts brought to the host."""
    loaded, batch = load(row), row.batch
    view = _view(loaded.config)

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
    return Work(lowered, prepare, macs, batch, batch * (loaded.config.shots + 1))


def cached(row: Row) -> Work:
    """Images segmented by one task, as labelling does; masks stay on the device."""
    loaded, batch = load(row), row.batch
    view = _view(loaded.config)

    def condition(variables, bank, support):
        episode = view.episode(bank, support, support[:, :1])
        shown = episode.support_image, episode.support_mask
        return loaded.model.apply(variables, *shown, method="condition")

    def segment(variables, bank, task, query):
        images = view.episode(bank, query[:, :1], query).query_image
        return loaded.model.apply(variables, task, images, method="segment") > 0

    arguments = jax.device_put((loaded.variables, loaded.bank))
    support = np.arange(loaded.config.shots, dtype=np.int32)[None]
    query = (np.arange(batch, dtype=np.int32) % cases.IMAGES)[None]
    task = jax.jit(condition)(*arguments, support)

    def prepare(compiled):
        def call():
            return jax.block_until_ready(compiled(*arguments, task, jax.device_put(query)))

        return call, lambda: 0.0

    lowered = jax.jit(segment).lower(*arguments, task, query)
    return Work(lowered, prepare, loaded.gmacs(batch)[1], batch, batch)


def gather(row: Row) -> Work:
    """Only the episodes of `infer`, cut out of the bank and warped: no network."""
    loaded, batch = load(row), row.batch
    records = loaded.sampler().records(0, batch)
    bank = jax.device_put(loaded.bank)
    chosen = records.support, records.query[:, :1]
    run = jax.jit(_view(loaded.config).episode)

    def prepare(compiled):
        return lambda: jax.block_until_ready(compiled(bank, *chosen)), lambda: 0.0

    return Work(run.lower(bank, *chosen), prepare, 0.0, batch, batch * (loaded.config.shots + 1))


MODES = {"train": train, "infer": infer, "cached": cached, "gather": gather}


def speeds(
    row: Row, rates: Mapping[str, float], timing: Timing, gmacs: float, episodes: int, images: int
) -> dict:
    """What a row's times mean: episodes and images a second, and the share of the device's rate.

    Args:
      gmacs, episodes, images: of one call.
    """
    flop, rate = 2e9 * gmacs, rates[row.rate] * row.devices
    return {
        **timing.facts(),
        "episodes_per_second": episodes / timing.median,
        "images_per_second": images / timing.median,
        "gflop_per_episode": flop / 1e9 / episodes,
        "mfu": flop / timing.median / rate,
        "mfu_of_best": flop / timing.best / rate,
    }


def beside_usual(work: Work, timing: Timing, usual: Work, usually: Timing) -> dict:
    """How many times faster an episode is with the switch than without, of calls in turn."""
    one, other = usually.of_one(usual.episodes), timing.of_one(work.episodes)
    return {"usual_s_per_episode": one.median, "speedup_of_switch": ratio(one, other)}


def measure(row: Row, rates: Mapping[str, float], repeats: int, budget: float) -> dict:
    """Compiles and times a row of one of MODES; one of SWITCHES in turn with the usual step.

    Args:
      rates: FLOP/s of this device's large matrix products, by `Row.rate`.
      repeats, budget: as for `timing.in_turn`.
    """
    with jax.default_matmul_precision(row.precision):
        work = MODES[row.mode](row)
        before = time.perf_counter()
        compiled = work.lowered.compile()
        compile_seconds = time.perf_counter() - before
    cost = compiled.cost_analysis() or {}
    cost = cost[0] if isinstance(cost, list) else cost
    space = compiled.memory_analysis()
    call, waited = work.prepare(compiled)
    calls, usual = {"row": call}, None
    if row.switch in SWITCHES:  # what a switch saves is less than two rows' times differ by
        with jax.default_matmul_precision(row.precision):
            usual = MODES[row.mode](dataclasses.replace(row, switch=""))
            usually = usual.lowered.compile()
        calls["usual"], _ = usual.prepare(usually)
    timings = in_turn(calls, repeats, budget)
    timing, beside = timings["row"], {}
    if usual:
        beside = beside_usual(work, timing, usual, timings["usual"])
        beside["usual_temporary_bytes"] = usually.memory_analysis().temp_size_in_bytes
    waiting, start = waited(), time.perf_counter()
    call()
    waiting = (waited() - waiting) / (time.perf_counter() - start)
    return {
        **speeds(row, rates, timing, work.gmacs, work.episodes, work.images),
        **beside,
        "wait_share": waiting,
        "compile_seconds": compile_seconds,
        "xla_gflop": cost.get("flops", 0.0) / 1e9 / work.episodes,
        "xla_gigabytes": cost.get("bytes accessed", 0.0) / 1e9,
        "argument_bytes": space.argument_size_in_bytes,
        "temporary_bytes": space.temp_size_in_bytes,
        "peak_bytes": machine.peak_bytes(),
    }
