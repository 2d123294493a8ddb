"""Where the time of a training step goes, by kind of operation, from XLA's own trace."""

import collections
import re
import tempfile
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from benchmarks import cases, operations, tables
from fss_jax.data import feed
from fss_jax.runtime.devices import AXIS, replicate
from fss_jax.training import base_network, loop
from fss_jax.training.optimizers import make_optimizer

_INSTRUCTION = re.compile(r"%?([\w.-]+) = .*?metadata=\{op_name=\"([^\"]*)\"")
_WITHIN = re.compile(r"^(call|while|conditional)")  # their parts are events of their own


def trace(call, steps: int) -> dict[str, float]:
    """Milliseconds a step by name of the instruction, from a trace of `steps` calls."""
    spent = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                call()
        (path,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    # On accelerators events are kernels and name their instruction beside.
                    stats = dict(event.stats) if plane.name.startswith("/device") else {}
                    spent[stats.get("hlo_op", event.name)] += event.duration_ns
    return {name: nanoseconds / 1e6 / steps for name, nanoseconds in spent.items()}


def measure(config: ConfigDict, steps: int) -> dict:
    """Shares of a training step of a config by kind of operation, from `steps` traced ones."""
    config.canvas = min(config.canvas, max(config.support_size, config.query_size) or 500)
    config.init, config.steps_per_dispatch = "", 1
    learner = base_network.learner_of(config)
    loaded, devices = cases.Loaded(config, learner), jax.local_devices()[:1]
    step = loop.make_train_step(loaded.model, make_optimizer(config), config, learner.loss)
    run = jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=0)
    bank, now = replicate(loaded.bank, devices), [replicate(loaded.state(), devices)]
    plan = feed.Plan(1, config.batch, devices)
    batches = feed.bank_feed(bank, loaded.sampler(), plan, 0, 1_000_000)
    compiled = run.lower(now[0], *next(batches)).compile()
    origin = dict(_INSTRUCTION.findall(compiled.as_text()))

    def call():
        now[0], measured = compiled(now[0], *next(batches))
        jax.block_until_ready(measured)

    call(), call()
    before = time.perf_counter()
    for _ in range(steps):
        call()
    step_ms = (time.perf_counter() - before) / steps * 1e3
    found = trace(call, steps)
    kinds, largest = collections.Counter(), []
    for name, milliseconds in found.items():
        if name in origin and not _WITHIN.match(name):
            kinds[operations.kind(name, origin[name])] += milliseconds
            largest.append((milliseconds, name, origin[name]))
    return {
        "method": config.method,
        "batch": config.batch,
        "step_ms": step_ms,
        "kinds_ms": dict(kinds.most_common()),
        "largest": sorted(largest, reverse=True)[:12],
    }


def table(result: dict) -> list[str]:
    """What `measure` found as Markdown."""
    total = sum(result["kinds_ms"].values()) or 1.0
    rows = [
        [name, f"{ms:.1f}", f"{100 * ms / total:.0f}%"] for name, ms in result["kinds_ms"].items()
    ]
    return [
        f"{result['method']}, {result['batch']} episodes a step; {result['step_ms']:.0f} ms a step "
        f"without the profiler, {total:.0f} ms in the operations that it saw.",
        "",
        *tables.markdown(["operations", "ms", "share"], rows),
        "",
        "The largest:",
        "",
        *tables.markdown(
            ["ms", "instruction", "from"],
            [[f"{ms:.1f}", f"`{name}`", f"`{op[-90:]}`"] for ms, name, op in result["largest"]],
        ),
    ]
