"""Devices and processes: how many take part, and how arrays are laid over them."""

import functools
import logging
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"


def join_cluster(wanted: bool | None = None) -> None:
    """Joins the other processes of this run, before any device is touched; docs/clusters.md.

    Args:
      wanted: None looks at the environment: JAX_COORDINATOR_ADDRESS (with JAX_NUM_PROCESSES and
        JAX_PROCESS_ID), Slurm's srun, Open MPI, or a TPU slice of several hosts under Kubernetes.

    Raises:
      ValueError: the others cannot be found or reached.
    """
    env = os.environ
    named = "JAX_COORDINATOR_ADDRESS" in env
    srun = "SLURM_STEP_NODELIST" in env and int(env.get("SLURM_NTASKS", "1")) > 1
    mpi = int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    tpu = "," in env.get("TPU_WORKER_HOSTNAMES", "") or "MEGASCALE_COORDINATOR_ADDRESS" in env
    if not (named or srun or mpi or tpu if wanted is None else wanted):
        return
    try:
        count = {}
        if named and "JAX_NUM_PROCESSES" in env:
            count["num_processes"] = int(env["JAX_NUM_PROCESSES"])
            count["process_id"] = int(env["JAX_PROCESS_ID"])
        jax.distributed.initialize(**count)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            f"cannot join the other processes ({type(error).__name__}: {error}); set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or --nocluster to run alone"
        ) from error


def is_lead() -> bool:
    """Whether this process is the one that writes files and draws progress bars."""
    return jax.process_index() == 0


_used = 0  # of this process by default; 0: all


def use(count: int) -> None:
    """Has `local_devices` give this process's first `count` devices by default; 0: all.

    Raises:
      ValueError: there are fewer.
    """
    global _used
    local_devices(count)
    _used = count


def local_devices(count: int = 0) -> list[jax.Device]:
    """The first `count` devices of this process; for 0 all of them, or as many as `use` says.

    Raises:
      ValueError: there are fewer.
    """
    found = jax.local_devices()
    if count > len(found):
        raise ValueError(f"{count} devices asked for, this process has {len(found)}: {found}")
    return found[: count or _used or len(found)]


def that_share(episodes: int, devices: list[jax.Device]) -> list[jax.Device]:
    """Those of this process's devices that can take equal shares of a step's episodes.

    The most that divide them evenly, so that an update is the same on any number of devices; the
    others stay idle, and are named.

    Args:
      episodes: of a step, over all processes.

    Raises:
      ValueError: the processes cannot take equal shares.
    """
    processes = jax.process_count()
    if episodes % processes:
        raise ValueError(
            f"config.batch is {episodes}, which {processes} processes cannot share evenly; make it a "
            f"multiple of {processes} (--scale {processes} scales batch and schedule together)"
        )
    most = next(n for n in range(len(devices), 0, -1) if not episodes // processes % n)
    if most < len(devices):
        idle = ", ".join(str(device) for device in devices[most:])
        logging.getLogger(__name__).warning(
            "%d episodes a step run on %d devices; idle: %s", episodes, most * processes, idle
        )
    return devices[:most]


def of_all_processes(devices: list[jax.Device]) -> list[jax.Device]:
    """This process's devices and as many of every other process, in the order of `jax.pmap`'s axis."""
    if jax.process_count() == 1:
        return devices
    others = (jax.local_devices(process_index=p) for p in range(jax.process_count()))
    return [device for found in others for device in found[: len(devices)]]


def process_rows(count: int) -> np.ndarray:
    """This process's share of `count` rows; all have equally many, since the last row repeats."""
    each = -(-count // jax.process_count())
    start = jax.process_index() * each
    return np.minimum(np.arange(start, start + each), count - 1)


def join_rows(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, one process after another."""
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows).reshape(-1, *rows.shape[1:])


def sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of the processes' arrays of counts, each below 2**31; int64."""
    return join_rows(counts[None].astype(np.int32)).astype(np.int64).sum(0)


@functools.cache
def _sharding(devices: tuple[jax.Device, ...]) -> NamedSharding:
    return NamedSharding(Mesh(np.asarray(devices), (AXIS,)), PartitionSpec(AXIS))


def shard(tree: Any, devices: list[jax.Device]) -> Any:
    """Puts row i of every [devices, ...] array on device i, as `jax.pmap` takes it."""
    return jax.device_put(tree, _sharding(tuple(devices)))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Puts a whole copy of every array on each device, with a leading device axis."""

    def copy(leaf):
        leaf = np.asarray(leaf)
        rows = [jax.device_put(leaf[None], device) for device in devices]
        shape = (len(devices), *leaf.shape)
        return jax.make_array_from_single_device_arrays(shape, _sharding(tuple(devices)), rows)

    return jax.tree.map(copy, tree)


def first(tree: Any) -> Any:
    """The copy on the first device, as numpy.

    Copied out before it is indexed: `leaf[0]` would queue behind whatever the device is doing.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)


def describe() -> str:
    """What kind of device this runs on, over all processes, e.g. '1 x cpu'."""
    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind}"
