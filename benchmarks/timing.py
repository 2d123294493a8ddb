"""Seconds of a call, measured so that noise shows: warm-up, repetition, and calls in turn."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

WARM_UP = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Repeated calls.

    Attributes:
      seconds: of wall time.
      cpu_seconds: of this process's CPU time over all its threads: what other processes disturb least.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def best(self) -> float:
        """The least disturbed call: on a shared machine noise only adds."""
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)

    def of_one(self, count: int) -> "Timing":
        """The seconds of one of `count` equal parts of each call."""
        return Timing(
            *(tuple(s / count for s in kind) for kind in (self.seconds, self.cpu_seconds))
        )

    def facts(self) -> dict:
        return {
            "median_s": self.median,
            "best_s": self.best,
            "quartiles_s": self.quartiles,
            "cpu_best_s": min(self.cpu_seconds, default=None),
            "calls": len(self.seconds),
        }


# Seconds before a call: PyTorch's threads spin for some milliseconds after theirs, on the cores that
# the next would use, and were counted as its CPU time.
PAUSE = 0.05


def in_turn(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int = 10,
    budget: float = float("inf"),
    warm_up: int = WARM_UP,
) -> dict[str, Timing]:
    """Times calls one after another, round by round, so that what disturbs one disturbs all.

    Args:
      calls: each returns when its result is there (jax.block_until_ready).
      budget: seconds for all; at least three rounds are made even if they take longer.
      warm_up: rounds that are not timed; only one if a round takes a tenth of the budget.
    """
    start = time.perf_counter()
    for _ in range(warm_up):
        for call in calls.values():
            call()
        if time.perf_counter() - start > budget / 10:
            break
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for done in range(repeats):
        if done >= 3 and time.perf_counter() - start > budget:
            break
        for name, call in calls.items():
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: Timing(*zip(*values, strict=True)) for name, values in seconds.items()}


def ratio(slow: Timing, fast: Timing) -> dict:
    """How many times faster `fast` is: of the medians, of the best, and the range over the rounds.

    'of_cpu' compares the least CPU time; it means little where the work is done by an accelerator.
    """
    rounds = np.asarray(slow.seconds) / np.asarray(fast.seconds)
    cpu = bool(slow.cpu_seconds and fast.cpu_seconds)
    return {
        "of_medians": slow.median / fast.median,
        "of_best": slow.best / fast.best,
        "of_cpu": min(slow.cpu_seconds) / min(fast.cpu_seconds) if cpu else None,
        "rounds": [float(rounds.min()), float(rounds.max())],
    }
