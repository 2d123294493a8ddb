"""`fss train --dry_run`: what a training would do, found out without weights or a step."""

from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import feed
from fss_jax.data.records import records_sha256
from fss_jax.runtime import checkpoints, memory
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import local_devices, that_share
from fss_jax.training import checks, loop
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
        records = lists[what]
        lines.append(f"{what}: {name}, {len(records)} records {records_sha256(records)[:12]}")

    batch = config.batch // (len(devices) * jax.process_count())
    plan = feed.Plan(config.steps_per_dispatch, batch, devices)
    lines.append(
        f"devices: {len(devices)} x {devices[0].device_kind}, {batch} of {config.batch} episodes each"
        + (f"; {len(found) - len(devices)} idle" if len(found) > len(devices) else "")
    )
    model, optimizer = learner.build(config), make_optimizer(config)
    variables = dict(jax.eval_shape(lambda: learner.init(model, config)))
    params = variables.pop("params")
    opt_state = jax.eval_shape(optimizer.init, params)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(step, params, variables, opt_state)
    resident = feed.choose_bank(config.bank, split, config.canvas, devices[0])
    steps = loop.make_train_step(model, optimizer, config, learner.loss)
    needed = step_bytes(steps, state, split, config, plan, resident)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params))
    wanted = needed(batch)
    sharing = len(devices) if devices[0].platform == "cpu" else 1  # one memory for all
    room = device_gib * GIB if device_gib else memory.device_bytes(devices[0]) / sharing
    lines.append(
        f"memory: {numbers:,} parameters; a step needs about {wanted / GIB:.3g} GiB of "
        f"{room / GIB:.3g} on each device, its bank "
        + ("resident" if resident else "decoded while training (config.bank=loader)")
    )
    if wanted > room:
        lines.append(
            "does not fit: lower config.batch with config.accumulate for the same update, or set "
            "config.remat=True; a bank that is too large: config.bank=loader"
        )
    done = checkpoints.finished_steps(Path(workdir))
    lines.append(
        f"workdir: {workdir}, "
        + (f"resumes at step {max(done)} of {config.steps}" if done else f"{config.steps} steps")
    )
    return "\n".join(lines)
