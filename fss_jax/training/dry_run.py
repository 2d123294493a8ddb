"""`fss train --dry_run`: what a training would do, found out without weights or a step."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import feed
from fss_jax.data.datasets import Split
from fss_jax.data.records import records_sha256
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import checkpoints, memory
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import local_devices, that_share
from fss_jax.scoring import frozen
from fss_jax.training import checks, loop, sharded
from fss_jax.training.loop import Learner
from fss_jax.training.optimizers import make_optimizer
from fss_jax.training.step_memory import step_bytes

GIB = 2**30


def dry_run(
    config: ConfigDict,
    workdir: str | Path,
    device_count: int,
    learner: Learner,
    device_gib: float | None = None,
) -> str:
    """Checks settings, data, lists, memory and paths as `train` does; makes and writes nothing.

    Args:
      device_gib: memory of a device to plan for; default: what this machine's devices have.

    Returns:
      Lines that say what was found.

    Raises:
      ValueError, FileNotFoundError: what would stop the training.
    """
    checks.check(config)
    found = local_devices(device_count)
    devices = that_share(config.batch, found)
    split, sampler = loop.training_episodes(config, learner)
    lines = [
        f"data: {split.name}, {len(split.image_ids)} images, {len(split.items)} items, first 1000 "
        f"records {records_sha256(sampler.records(0, 1000))[:12]}"
    ]
    lists = checks.check_lists(config)
    for what, name in (("validation", config.val_protocol), ("test", config.protocol)):
        if what not in lists:
            lines.append(f"{what}: {config.test_split} of {config.dataset} is not prepared")
            continue
        records = lists[what].records
        lines.append(f"{what}: {name}, {len(records)} records {records_sha256(records)[:12]}")

    batch = config.batch // (len(devices) * jax.process_count())
    lines.append(
        f"devices: {len(devices)} x {devices[0].device_kind}, {batch} of {config.batch} episodes each"
        + (f"; {len(found) - len(devices)} idle" if len(found) > len(devices) else "")
    )
    sharing = len(devices) if devices[0].platform == "cpu" else 1  # one memory for all
    room = device_gib * GIB if device_gib else memory.device_bytes(devices[0]) / sharing
    variables = variable_shapes(config, learner)
    features = frozen.planned(config, learner.build(config), variables)
    resident = feed.choose_bank(
        config.bank, split, config.canvas, devices[0], room, features=features
    )
    if features:
        size = features.bytes_each * len(split.image_ids)
        lines.append(f"features: {features.dtype} of every image, {gib(size)} GiB, made first")
    lines += _memory(config, learner, variables, split, devices, resident, room)
    done = checkpoints.finished_steps(Path(workdir))
    lines.append(
        f"workdir: {workdir}, "
        + (f"resumes at step {max(done)} of {config.steps}" if done else f"{config.steps} steps")
    )
    return "\n".join([*lines, f"({provenance_line(provenance())})"])


def _memory(
    config: ConfigDict,
    learner: Learner,
    variables: dict[str, Any],
    split: Split,
    devices: list[jax.Device],
    resident: bool,
    room: int | float,
) -> list[str]:
    """What a step needs of a device's memory, and where that is too much, what would fit."""
    state = state_shapes(config, learner, variables)
    total = len(devices) * jax.process_count()
    each = sharded.shapes(state.opt_state, total if config.shard_optimizer else 1)
    parts = {"parameters": state.params, "gradient": state.params, "optimizer": each}
    said = ", ".join(f"{name} {gib(tree_bytes(tree))}" for name, tree in parts.items())
    wanted = step_needs(config, learner, variables, split, devices, resident)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    lines = [
        f"memory: {numbers:,} parameters; a step needs about {gib(wanted)} GiB of {gib(room)} on each "
        f"device ({said} GiB), its bank "
        + ("resident" if resident else "decoded while training (config.bank=loader)")
    ]
    if wanted <= room:
        return lines
    lines.append("does not fit; on each device needs, each line on top of those above:")
    for changes, told in ways(config, devices, resident):
        tried = config.copy_and_resolve_references()
        tried.update(changes)
        stays = resident and tried.bank != "loader"
        try:
            needed = step_needs(tried, learner, variables, split, devices, stays)
        except ValueError:  # a backbone that cannot compute its blocks again
            continue
        if needed >= wanted:
            continue
        config, resident, wanted = tried, stays, needed
        lines.append(f"  {told}: {gib(wanted)} GiB" + (", which fits" if wanted <= room else ""))
        if wanted <= room:
            return lines
    return [*lines, "  nothing of this fits: take smaller images (config.query_size) or devices"]


def ways(
    config: ConfigDict, devices: list[jax.Device], resident: bool
) -> list[tuple[dict[str, Any], str]]:
    """Settings with which the same training may need less memory, each with what it is in words.

    First what changes no number, then what rounds otherwise.
    """
    found: list[tuple[dict[str, Any], str]] = []
    if resident:
        found.append(({"bank": "loader"}, "config.bank=loader"))
    total = len(devices) * jax.process_count()
    more = config.batch // total
    if more > 1:
        changes = {
            "batch": total,
            "accumulate": config.accumulate * more,
            "steps": config.steps * more,
        }
        told = " ".join(f"config.{name}={value}" for name, value in changes.items())
        found.append((changes, f"{told} (the same update)"))
    if not config.remat:
        found.append(({"remat": True}, "config.remat=True (the same, computed twice)"))
    if total > 1 and not config.shard_optimizer:
        told = "config.shard_optimizer=True (the same, kept in parts)"
        found.append(({"shard_optimizer": True}, told))
    for name, what in (("dtype", "activations"), ("moments", "the optimizer's first moments")):
        if config[name] != "bfloat16":
            found.append(({name: "bfloat16"}, f"config.{name}=bfloat16 ({what} rounded)"))
    return found


def variable_shapes(config: ConfigDict, learner: Learner) -> dict[str, Any]:
    """Shapes of what a training starts from; no setting of `ways` changes them."""
    return dict(jax.eval_shape(lambda: learner.init(learner.build(config), config)))


def state_shapes(config: ConfigDict, learner: Learner, variables: dict[str, Any]) -> TrainState:
    """Shapes of a training's state."""
    extra = {name: tree for name, tree in variables.items() if name != "params"}
    optimizer = make_optimizer(config, frozen.stays(config, learner.build(config)))
    opt_state = jax.eval_shape(optimizer.init, variables["params"])
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32), variables["params"], extra, opt_state)


def step_needs(
    config: ConfigDict,
    learner: Learner,
    variables: dict[str, Any],
    split: Split,
    devices: list[jax.Device],
    resident: bool,
) -> int:
    """Bytes that a step needs on each device."""
    batch = config.batch // (len(devices) * jax.process_count())
    plan = feed.Plan(config.steps_per_dispatch, batch, devices)
    model, state = learner.build(config), state_shapes(config, learner, variables)
    optimizer = make_optimizer(config, frozen.stays(config, model))
    features = frozen.planned(config, model, variables)
    steps = loop.make_train_step(model, optimizer, config, learner.loss)
    return step_bytes(steps, state, split, config, plan, resident, features)(batch)


def tree_bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def gib(number: int | float) -> str:
    return f"{number / GIB:.3g}"
