"""Whether a training step fits into a device's memory, by tracing it: nothing is compiled or run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fss_jax.data import bank as banks
from fss_jax.data import datasets, feed
from fss_jax.data.feature_bank import Stored
from fss_jax.runtime import memory
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS
from fss_jax.training import sharded

ENOUGH_PER_PIXEL = 2**14  # bytes that no method here needs for a pixel: VGG-16 keeps about 3 KB


def step_bytes(
    step: Callable,
    state: TrainState,
    split: datasets.Split,
    config: ConfigDict,
    plan: feed.Plan,
    resident: bool,
    features: Stored | None = None,
) -> Callable[[int], int]:
    """Episodes per device -> bytes that a step of `make_train_step` needs on each device, by tracing.

    One step is traced: those of a dispatch have the same room one after another.

    Args:
      state: arrays or shapes.
      resident: whether the split's whole bank lies on the device.
      features: what stands for the images, if anything does.
    """
    rows = _bank_rows(split, config, plan, resident)
    total = len(plan.devices) * jax.process_count()
    if config.get("shard_optimizer", False):
        state = state.replace(opt_state=sharded.shapes(state.opt_state, total))

    def needed(batch: int) -> int:
        records = (
            jax.ShapeDtypeStruct((1, batch, images), jnp.int32)
            for images in (config.shots, config.queries)
        )
        bank = banks.shapes(split, config.canvas, rows)
        if features:
            bank = (features.shapes_of(rows), *bank[1:])

        def run(state, bank, *records):
            bank = features.bank_of(*bank) if features else banks.Bank(*bank)
            return step(state, bank, *records)

        return memory.peak_bytes(run, state, bank, *records, axis_env=[(AXIS, total)], donated=True)

    return needed


def _bank_rows(split: datasets.Split, config: ConfigDict, plan: feed.Plan, resident: bool) -> int:
    drawn = plan.steps * plan.batch * (config.shots + config.queries)
    return len(split.image_ids) if resident else drawn


def check_memory(
    step: Callable,
    state: TrainState,
    split: datasets.Split,
    config: ConfigDict,
    plan: feed.Plan,
    resident: bool,
) -> None:
    """Raises ValueError, before anything is compiled, if a step will not fit into the device."""
    side = config.query_size or config.canvas
    pixels = config.shots * config.support_size**2 + config.queries * side**2
    kept = 8 * sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    kept += banks.canvas_bytes(_bank_rows(split, config, plan, resident), config.canvas)
    clearly = kept + ENOUGH_PER_PIXEL * pixels * plan.batch
    if clearly * len(plan.devices) < memory.device_bytes(plan.devices[0]):
        return  # spare small runs the tracing
    needed = step_bytes(step, state, split, config, plan, resident)
    memory.demand_room(needed, plan.batch, plan.devices[0], len(plan.devices), resident)
