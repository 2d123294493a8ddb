"""Where a training step's pixels come from: the resident bank, or a loader that decodes on the way.

Both hand the step the same three things per dispatch: (bank, support, query). The loader's bank holds
just the images that the dispatch needs, so nothing in the step changes.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator

import grain
import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from fss_jax.data.bank import Bank, canvas_bytes, load_bank
from fss_jax.data.datasets import Split
from fss_jax.data.feature_bank import FeatureBank, Stored
from fss_jax.data.records import EpisodeSampler, Records
from fss_jax.runtime.devices import replicate, shard

BANK_SHARE = 0.5  # of device memory that a bank may take; the rest is the model's
LOADED = 512  # images of a bank while `config.bank` is 'loader'


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one dispatch is cut: `steps` steps of `batch` episodes on each of `devices`.

    With several processes every process takes its own slice of each step's episodes.
    """

    steps: int
    batch: int
    devices: list[jax.Device]

    @property
    def episodes(self) -> int:
        return self.steps * self.batch * len(self.devices) * jax.process_count()

    def cut(self, column: np.ndarray) -> np.ndarray:
        """[episodes, K] -> this process's [devices, steps, batch, K]."""
        shape = (self.steps, jax.process_count(), len(self.devices), self.batch, column.shape[1])
        return column.reshape(shape)[:, jax.process_index()].swapaxes(0, 1)

    def records(self, sampler: EpisodeSampler, step: int) -> Records:
        """The records of the dispatch that starts at `step`."""
        return sampler.records(step * self.episodes // self.steps, self.episodes)


def bank_feed(
    bank: Bank | FeatureBank, sampler: EpisodeSampler, plan: Plan, start: int, stop: int
) -> Iterator[tuple]:
    """Yields (bank, support, query) per dispatch; only the integers travel to the devices.

    Args:
      bank: replicated over the plan's devices.
      start, stop: in steps.
    """
    for step in range(start, stop, plan.steps):
        records = plan.records(sampler, step)
        yield bank, *shard((plan.cut(records.support), plan.cut(records.query)), plan.devices)


class _Decode(grain.transforms.Map):
    """Step -> the images of its dispatch as a small bank, and records that point into it."""

    def __init__(
        self,
        split: Split,
        sampler: EpisodeSampler,
        plan: Plan,
        load: Callable[[Split, list[int]], Bank | FeatureBank],
    ):
        self.split, self.sampler, self.plan, self.load = split, sampler, plan, load

    def map(self, step: int) -> tuple[Bank | FeatureBank, np.ndarray, np.ndarray]:
        records = self.plan.records(self.sampler, step)
        support, query = self.plan.cut(records.support), self.plan.cut(records.query)
        needed = np.concatenate([support.ravel(), query.ravel()])
        images, row = np.unique(self.split.item_image[needed], return_inverse=True)
        # A fixed number of rows, whatever repeats: the compiled step sees one shape.
        images = np.resize(images, len(needed))
        bank = self.load(self.split, images.tolist())
        bank = bank.replace(
            item_image=row.astype(np.int32), item_value=self.split.item_value[needed]
        )
        local = np.arange(len(needed), dtype=np.int32)
        return (
            bank,
            local[: support.size].reshape(support.shape),
            local[support.size :].reshape(query.shape),
        )


def loader_feed(
    split: Split,
    canvas: int,
    sampler: EpisodeSampler,
    plan: Plan,
    start: int,
    stop: int,
    threads: int = 2,
    features: Stored | None = None,
) -> Iterator[tuple]:
    """`bank_feed` for a split that does not fit: reads ahead of the step in background threads.

    Args:
      features: what stands for the images, if anything does.
    """

    def load(split, images):
        return (
            features.bank(split, canvas, images) if features else load_bank(split, canvas, images)
        )

    steps = grain.MapDataset.range(start, stop, plan.steps)
    decoded = steps.map(_Decode(split, sampler, plan, load))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    iterator = iter(decoded.to_iter_dataset(options))
    try:
        for bank, support, query in iterator:
            yield replicate(bank, plan.devices), *shard((support, query), plan.devices)
    finally:
        iterator.close()


def choose_bank(
    kind: str,
    split: Split,
    canvas: int,
    device: jax.Device,
    memory: int | float | None = None,
    features: Stored | None = None,
) -> bool:
    """Whether the split's bank goes to the device ('auto': if it takes at most half its memory).

    Args:
      memory: bytes to plan for instead of what the device has.
      features: what stands for the images, if anything does.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in ("auto", "device", "loader"):
        raise ValueError(f"unknown config.bank {kind!r}; expected auto, device or loader")
    if kind != "auto":
        return kind == "device"
    room = BANK_SHARE * memory if memory else bank_room(device)
    needed = canvas_bytes(len(split.image_ids), canvas)
    needed += features.bytes_each * len(split.image_ids) if features else 0
    if needed > room:
        logging.getLogger(__name__).warning(
            "the bank of %s needs %.1f GiB, over half of the device's %.1f GiB: decoding while training",
            split.name,
            needed / 2**30,
            room / BANK_SHARE / 2**30,
        )
    return needed <= room


def bank_room(device: jax.Device) -> float:
    """Bytes of a device's memory that a bank may take."""
    stats = device.memory_stats() or {}
    return BANK_SHARE * stats.get("bytes_limit", _host_memory())


def most_images(config: ConfigDict, device: jax.Device, features: Stored | None = None) -> int:
    """How many images of a config's canvas a device's bank may hold; few with `config.bank` 'loader'."""
    each = canvas_bytes(1, config.canvas) + (features.bytes_each if features else 0)
    room = int(bank_room(device) // each)
    return min(room, LOADED) if config.bank == "loader" else room


def parts(images: Int[np.ndarray, "n i"], most_images: int) -> Iterator[tuple[slice, list[int]]]:
    """Cuts a list of episodes into runs whose images fit into a bank together.

    Args:
      images: of each episode, as indices into a split.

    Yields:
      The run, and the indices of its images; every run of several has `most_images` of them (some
      repeat), so that what is compiled for one serves all.

    Raises:
      ValueError: one episode has more images than fit.
    """
    if len(np.unique(images)) <= most_images:
        yield slice(0, len(images)), np.unique(images).tolist()
        return
    start, seen = 0, set()
    for position, row in enumerate(images):
        wanted = seen | set(row.tolist())
        if len(wanted) > most_images:
            if position == start:
                raise ValueError(
                    f"one episode has {len(wanted)} images, the bank has room for {most_images}; "
                    "lower config.canvas or the number of shots"
                )
            yield slice(start, position), np.resize(sorted(seen), most_images).tolist()
            start, wanted = position, set(row.tolist())
        seen = wanted
    yield slice(start, len(images)), np.resize(sorted(seen), most_images).tolist()


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
