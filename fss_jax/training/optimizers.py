"""Optimizers of the papers as optax chains, from the flat config."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from ml_collections import ConfigDict

from fss_jax.runtime.devices import AXIS

Params = Any
OPTIMIZERS = ("sgd", "adam", "muon")
SCHEDULES = ("constant", "cosine", "halving", "tenths")


def leaf_names(params: Params) -> Params:
    """The tree with each leaf replaced by its 'a/b/c' name."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "/".join(str(getattr(key, "key", key)) for key in path), params
    )


def learning_rate(config: ConfigDict) -> Callable[[int], jax.Array]:
    """Update -> learning rate, with a linear warm-up of `config.warmup` updates.

    An update is `config.accumulate` steps. 'cosine' reaches zero with the last of them.
    'halving' multiplies by one half every `config.halve_every` updates (FSS-1000, protocols.md B.2),
    'tenths' by one tenth at each of `config.tenth_at` (PANet).
    """
    if config.schedule == "constant":
        schedule = optax.constant_schedule(config.lr)
    elif config.schedule == "cosine":
        updates = config.steps // config.accumulate - config.warmup
        schedule = optax.cosine_decay_schedule(config.lr, max(1, updates))
    elif config.schedule == "halving":
        schedule = optax.exponential_decay(config.lr, config.halve_every, 0.5, staircase=True)
    elif config.schedule == "tenths":
        schedule = optax.piecewise_constant_schedule(config.lr, dict.fromkeys(config.tenth_at, 0.1))
    else:
        raise ValueError(
            f"unknown config.schedule {config.schedule!r}; expected one of {', '.join(SCHEDULES)}"
        )
    if not config.warmup:
        return schedule
    return optax.join_schedules(
        [optax.linear_schedule(0.0, config.lr, config.warmup), schedule], [config.warmup]
    )


Rules = Sequence[tuple[str, float]]


def _factor(rules: Rules, name: str) -> float:
    """Of the first pattern that the name of a leaf matches."""
    return next((value for pattern, value in rules if re.fullmatch(pattern, name)), 1.0)


def _scale_leaves(rules: Rules) -> optax.GradientTransformation:
    """Multiplies each leaf's update by its factor."""

    def update(updates, params=None):
        del params
        return jax.tree.map(lambda u, name: u * _factor(rules, name), updates, leaf_names(updates))

    return optax.stateless(update)


def held(params: Params, rules: Rules) -> Params:
    """Params of which those that no update moves get no gradient, so that none is computed.

    Nor do they count in the norm by which gradients are clipped.
    """
    return jax.tree.map(
        lambda leaf, name: leaf if _factor(rules, name) else jax.lax.stop_gradient(leaf),
        params,
        leaf_names(params),
    )


def _kernels(params: Params) -> Params:
    """Which leaves are weights, not biases or scales of normalization."""
    return jax.tree.map(lambda name: name.endswith("kernel"), leaf_names(params))


def _muon(
    momentum: float, moments: jnp.dtype, others: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Muon's direction of weights, without a learning rate; `others` for the other leaves."""

    def matrices(params):  # all axes but the last together are what an output reads
        return jax.tree.map(
            lambda leaf: optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), -1), params
        )

    muon = optax.contrib.scale_by_muon(
        beta=momentum, mu_dtype=moments, weight_dimension_numbers=matrices
    )

    def as_far_as_adam(updates, params=None):
        del params
        return jax.tree.map(
            lambda u: u * 0.2 * max(u.size // u.shape[-1], u.shape[-1]) ** 0.5, updates
        )

    return optax.partition(
        {True: optax.chain(muon, optax.stateless(as_far_as_adam)), False: others}, _kernels
    )


def _clip(limit: float, groups: Sequence[str], axis: str | None) -> optax.GradientTransformation:
    """Clips by global norm, each group of leaves (a name pattern) apart, the rest together.

    Args:
      axis: of the devices that the gradient is cut over, if it is (see `sharded`).
    """

    def norm(members: list[jax.Array]) -> jax.Array:
        squares = optax.tree.norm(members, squared=True)
        return jnp.sqrt(jax.lax.psum(squares, axis) if axis else squares)

    def group_of(name: str) -> int:
        matches = (i for i, pattern in enumerate(groups) if re.fullmatch(pattern, name))
        return next(matches, len(groups))

    def update(updates, params=None):
        del params
        names = leaf_names(updates)
        leaves, treedef = jax.tree.flatten(updates)
        group = [group_of(name) for name in jax.tree.leaves(names)]
        scale = {}
        for g in set(group):
            members = [leaf for leaf, k in zip(leaves, group, strict=True) if k == g]
            scale[g] = jnp.minimum(1.0, limit / (norm(members) + 1e-12))
        return treedef.unflatten([leaf * scale[k] for leaf, k in zip(leaves, group, strict=True)])

    return optax.stateless(update)


def make_optimizer(config: ConfigDict, stays: Sequence[str] = ()) -> optax.GradientTransformation:
    """The chain: clip, decay (weights only), SGD, Adam or Muon, learning rate, per-leaf multipliers.

    Args:
      stays: modules whose parameters do not change, and for which no state is kept.

    For SGD the decay is added to the gradient before momentum, as Caffe does (protocols.md A.9). A
    multiplier after the momentum equals Caffe's inside it, since it is constant.

    Muon (Jordan et al. 2024) is for weights, each a matrix from what it reads to its outputs; it moves
    them about as far as Adam would at the same rate (Liu et al. 2025, arXiv 2502.16982). The other
    leaves are Adam's.

    The first moments (SGD's momentum) are kept as `config.moments`, Adam's second always as float32,
    whose small steps bfloat16 would lose.

    Raises:
      ValueError: an unknown optimizer or schedule; one that cannot be kept in shards.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ValueError(
            f"unknown config.optimizer {config.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}"
        )
    sharded = config.get("shard_optimizer", False)
    if sharded and config.optimizer == "muon":
        raise ValueError(
            "config.optimizer 'muon' needs whole matrices, which config.shard_optimizer=True cuts; "
            "leave that out, or take 'adam'"
        )
    chain, moments = [], jnp.dtype(config.get("moments", "float32"))  # older configs lack it
    if config.clip:
        axis = AXIS if sharded else None
        chain.append(_clip(config.clip, tuple(config.clip_groups), axis))
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    if config.optimizer == "sgd":
        chain += [decay] if config.weight_decay else []
        chain.append(optax.trace(config.momentum, accumulator_dtype=moments))
    else:
        adam = optax.scale_by_adam(mu_dtype=moments)
        chain.append(_muon(config.momentum, moments, adam) if config.optimizer == "muon" else adam)
        chain += [decay] if config.weight_decay else []
    chain.append(optax.scale_by_learning_rate(learning_rate(config)))
    if config.lr_multipliers:
        chain.append(_scale_leaves(tuple(config.lr_multipliers)))
    optimizer = optax.chain(*chain)
    if stays:
        optimizer = optax.multi_transform(
            {True: optimizer, False: optax.set_to_zero()},
            lambda params: {name: name not in stays for name in params},
        )
    if config.accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, config.accumulate).gradient_transformation()
    return optimizer
