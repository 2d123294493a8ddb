"""How much device memory a function will need, known before anything is compiled.

The function is traced to its jaxpr and its values' lifetimes are followed. As XLA does, a chain of
elementwise operations is taken for part of whatever reads it: it occupies memory only where a
convolution, product or reduction reads it, or where it is a result. XLA's scheduler and its scratch
space are not modelled: estimates lie within about a third of what it reports (tests/test_memory.py).
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

# What XLA does not fuse into a reader; everything else with these shapes is elementwise enough.
_COMPUTES = frozenset(
    "conv_general_dilated dot_general reduce_sum reduce_max reduce_min argmax argmin sort cumsum "
    "scan while cond gather scatter scatter-add dynamic_update_slice reduce_window "
    "select_and_scatter_add concatenate psum all_gather reduce_scatter fft cholesky "
    "triangular_solve".split()
)
_TRANSPARENT = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # one call of an inner function, as if inlined


@dataclasses.dataclass
class _Event:
    """One operation that occupies memory: which values it reads, and what it makes."""

    reads: set[int]
    writes: list[tuple[int, int]]  # value, bytes
    scratch: int


def peak_bytes(
    fn: Callable,
    *args: Any,
    axis_env: list[tuple[str, int]] | None = None,
    donated: bool = False,
) -> int:
    """Bytes that one call of `fn` needs at its worst moment, arguments and results included.

    Args:
      args: arrays or jax.ShapeDtypeStructs, in pytrees.
      axis_env: named axes that `fn` uses and their sizes, as for jax.make_jaxpr.
      donated: whether the first argument is given up, so that its room is free after its last use.
    """
    given_up = len(jax.tree.leaves(args[0])) if donated else 0
    return _peak(jax.make_jaxpr(fn, axis_env=axis_env)(*args).jaxpr, given_up)


def device_bytes(device: jax.Device) -> int:
    """The device's memory; for a CPU the machine's."""
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def demand_room(
    needed: Callable[[int], int],
    batch: int,
    device: jax.Device,
    sharing: int = 1,
    resident: bool = False,
) -> None:
    """Raises ValueError if a step does not fit into a device's memory, saying what would.

    Args:
      needed: episodes per device -> bytes, linear in their number.
      batch: episodes per device.
      sharing: devices of this process; those of a CPU have one memory.
      resident: whether what is needed holds a bank of images, which the host could keep.
    """
    sharing = sharing if device.platform == "cpu" else 1
    room, wanted = device_bytes(device) / sharing, needed(batch)
    if wanted <= room:
        return
    one = needed(1)
    each = (wanted - one) / max(1, batch - 1)
    fits = int((room - one) // each) + 1 if batch > 1 and each else 0
    way = (
        f"lower config.batch to {fits} for each device (with config.accumulate for the same update), or "
        if fits > 0
        else "make the images smaller (config.support_size, config.query_size), or "
    )
    raise ValueError(
        f"a training step of {batch} episodes on each device needs about {wanted / 2**30:.3g} GiB, "
        f"{device} has {room / 2**30:.3g}: {way}set "
        + ("config.bank=loader or " if resident else "")
        + "config.remat=True (--dry_run goes through all that needs less)"
    )


def is_exhausted(error: Exception) -> bool:
    """Whether an error says that a device's memory did not suffice."""
    return "RESOURCE_EXHAUSTED" in str(error)


def _peak(jaxpr: Jaxpr, given_up: int = 0) -> int:
    """`given_up`: how many of the first inputs may be freed."""
    trace = _Trace()
    inputs = [(trace.new(var), _bytes(var)) for var in (*jaxpr.constvars, *jaxpr.invars)]
    trace.follow(jaxpr)
    results = set().union(*(trace.sources(var) for var in jaxpr.outvars), set())
    last = {}
    for index, event in enumerate(trace.events):
        last |= dict.fromkeys(event.reads, index)
    last |= dict.fromkeys(results, len(trace.events))
    held = dict(inputs)  # the caller keeps the arguments
    now = peak = sum(held.values())
    ends: dict[int, list[int]] = {}
    for value, index in last.items():
        ends.setdefault(index, []).append(value)
    first = len(jaxpr.constvars)
    size = dict(inputs[first : first + given_up])
    for index, event in enumerate(trace.events):
        for value, number in event.writes:
            size[value] = number
            now += number
        peak = max(peak, now + event.scratch)
        unread = [value for value, _ in event.writes if value not in last]
        for value in ends.get(index, []) + unread:
            now -= size.pop(value, 0)
    return peak


class _Trace:
    """The operations of a jaxpr that occupy memory, calls inlined, values numbered."""

    def __init__(self):
        self.events: list[_Event] = []
        self._stored: dict[Var, int] = {}  # values in memory
        self._fused: dict[Var, set[int]] = {}  # values that are not: what they are computed from
        self._count = 0

    def new(self, var: Var) -> int:
        self._count += 1
        self._stored[var] = self._count
        return self._count

    def sources(self, atom: Any) -> set[int]:
        """What must be in memory for `atom` to be read."""
        if isinstance(atom, Literal):
            return set()
        return {self._stored[atom]} if atom in self._stored else self._fused.get(atom, set())

    def follow(self, jaxpr: Jaxpr) -> None:
        read_whole = _operands_of_computations(jaxpr)
        for eqn in jaxpr.eqns:
            inner = _inlined(eqn)
            if inner is not None:
                for outer, own in zip(eqn.invars[-len(inner.invars) :], inner.invars, strict=True):
                    self._fused[own] = self.sources(outer)
                for own in inner.constvars:
                    self._fused[own] = set()
                self.follow(inner)
                for outer, own in zip(eqn.outvars, inner.outvars, strict=True):
                    self._fused[outer] = self.sources(own)
                continue
            reads = set().union(*(self.sources(atom) for atom in eqn.invars), set())
            computes = eqn.primitive.name in _COMPUTES
            stored = [var for var in eqn.outvars if computes or var in read_whole]
            for var in eqn.outvars:
                if var not in stored:
                    self._fused[var] = reads
            if stored:
                scratch = max((_peak(sub) - _inputs(sub) for sub in _subjaxprs(eqn)), default=0)
                writes = [(self.new(var), _bytes(var)) for var in stored]
                self.events.append(_Event(reads, writes, scratch))


def _operands_of_computations(jaxpr: Jaxpr) -> set[Var]:
    """Values that a convolution or product reads: these take no elementwise producers in."""
    return {
        atom
        for eqn in jaxpr.eqns
        if eqn.primitive.name in ("conv_general_dilated", "dot_general", "scan", "while", "cond")
        for atom in eqn.invars
        if not isinstance(atom, Literal)
    }


def _inlined(eqn: Any) -> Jaxpr | None:
    if eqn.params.get("branches_platforms"):  # jax.lax.platform_dependent: what a GPU runs
        return eqn.params["branches"][-1].jaxpr
    if eqn.primitive.name in _COMPUTES:
        return None
    for name in _TRANSPARENT:
        inner = eqn.params.get(name)
        if inner is not None:
            return inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
    return None


def _subjaxprs(eqn: Any) -> Iterator[Jaxpr]:
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _inputs(jaxpr: Jaxpr) -> int:
    return sum(_bytes(var) for var in (*jaxpr.constvars, *jaxpr.invars))


def _bytes(var: Any) -> int:
    aval = var.aval
    return aval.size * getattr(aval.dtype, "itemsize", 4)
