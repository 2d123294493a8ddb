"""One process's devices: how many take part, and how arrays are laid over them."""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"


def local_devices(count: int = 0) -> list[jax.Device]:
    """The first `count` devices of this process, all of them for 0.

    Raises:
      ValueError: there are fewer.
    """
    found = jax.local_devices()
    if count > len(found):
        raise ValueError(f"{count} devices asked for, this process has {len(found)}: {found}")
    return found[: count or len(found)]


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
    """What kind of device this runs on, e.g. '1 x cpu'."""
    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind}"
