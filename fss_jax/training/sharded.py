"""Optimizer state in shards: each device keeps, and updates, its part of every array.

With `config.shard_optimizer` a device's moments take 1/N of their room on N devices (what ZeRO calls its
first stage). The update is the same: gradients are summed into shards instead of whole, each device
updates its shard of the parameters, and the shards are joined again. Optimizers here are elementwise
but for the norms that clip, which `optimizers` sums over the devices.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS, first, join_rows, replicate, shard

Tree = Any


def _rows(leaf: Any, count: int, xp: Any) -> Any:
    """An array's numbers in `count` equal rows [count, k], zeros at the end."""
    each = -(-leaf.size // count)
    return xp.pad(xp.reshape(leaf, -1), (0, each * count - leaf.size)).reshape(count, each)


def shapes(opt_state: Tree, count: int) -> Tree:
    """What one of `count` devices keeps of an optimizer's state; scalars are whole on each."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            (-(-leaf.size // count),) if leaf.ndim else (), leaf.dtype
        ),
        opt_state,
    )


def place(state: TrainState, devices: list[jax.Device], sharded: bool) -> TrainState:
    """A whole state from the host on the devices: each has a copy, of the optimizer's its part.

    Args:
      devices: of this process, which takes its rows of those of all processes.
    """
    if not sharded:
        return replicate(state, devices)
    count = len(devices) * jax.process_count()
    mine = slice(jax.process_index() * len(devices), (jax.process_index() + 1) * len(devices))

    def part(leaf):
        leaf = np.asarray(leaf)
        if not leaf.ndim:
            return replicate(leaf, devices)
        return shard(_rows(leaf, count, np)[mine], devices)

    rest = replicate(state.replace(opt_state=()), devices)
    return rest.replace(opt_state=jax.tree.map(part, state.opt_state))


def fetch(state: TrainState, whole: Tree, sharded: bool) -> TrainState:
    """The state that `place` laid out, whole and as numpy.

    Args:
      whole: the optimizer state's shapes.
    """
    if not sharded:
        return first(state)

    def joined(leaf, like):
        if not like.ndim:
            return first(leaf)
        parts = sorted(leaf.addressable_shards, key=lambda part: part.index[0].start or 0)
        rows = join_rows(np.concatenate([np.asarray(part.data) for part in parts]))
        return rows.reshape(-1)[: like.size].reshape(like.shape)

    rest = first(state.replace(opt_state=()))
    return rest.replace(opt_state=jax.tree.map(joined, state.opt_state, whole))


def update(
    optimizer: optax.GradientTransformation,
    grads: Tree,
    opt_state: Tree,
    params: Tree,
    travels: Any = jnp.float32,
) -> tuple[Tree, Tree, jax.Array]:
    """One update inside a pmap over AXIS, in shards.

    Args:
      grads: of this device's episodes, whole.
      opt_state: this device's shard.
      params: whole, the same on every device.
      travels: dtype of gradients between devices.

    Returns:
      The new parameters, whole; the new shard of the state; the norm of the mean gradient.
    """
    index, count = jax.lax.axis_index(AXIS), jax.lax.axis_size(AXIS)

    def summed(leaf):
        sent = _rows(leaf.astype(travels), count, jnp)
        mean = jax.lax.psum_scatter(sent, AXIS, scatter_dimension=0) / count
        return mean.astype(leaf.dtype)

    def own(leaf):
        return _rows(leaf, count, jnp)[index]

    mine = jax.tree.map(summed, grads)
    norm = jnp.sqrt(jax.lax.psum(optax.tree.norm(mine, squared=True), AXIS))
    shards = jax.tree.map(own, params)
    updates, opt_state = optimizer.update(mine, opt_state, shards)
    shards = optax.apply_updates(shards, updates)

    def whole(leaf, like):
        return jax.lax.all_gather(leaf, AXIS, tiled=True)[: like.size].reshape(like.shape)

    return jax.tree.map(whole, shards, params), opt_state, norm


def whole_update(
    optimizer: optax.GradientTransformation,
    grads: Tree,
    opt_state: Tree,
    params: Tree,
    travels: Any = jnp.float32,
) -> tuple[Tree, Tree, jax.Array]:
    """`update` where every device keeps the whole state."""
    sent = jax.lax.pmean(jax.tree.map(lambda leaf: leaf.astype(travels), grads), AXIS)
    grads = jax.tree.map(lambda mean, own: mean.astype(own.dtype), sent, grads)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)
