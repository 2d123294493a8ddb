"""Where pixels come from: the resident bank, grain, or a loader in PyTorch's DataLoader style.

python -m benchmarks.data --dataset fss_glyphs/full --canvas 224 --out runs/speed/data

The same records in the same order. Each feed hands over images and labels on the device; a step then
gathers and warps them, as in training, and computes as long as --step_ms says (0: only the feed).
Wait is the share of time that the step waited for its data.
"""

import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command, machine, tables
from fss_jax.data import bank as banks
from fss_jax.data import datasets, feed
from fss_jax.data.bank import Bank
from fss_jax.data.records import EpisodeSampler
from fss_jax.runtime import messages
from fss_jax.runtime.devices import AXIS, replicate, shard

DATASET = flags.DEFINE_string("dataset", "fss_glyphs/tiny", "a prepared dataset")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "where it was prepared")
CANVAS = flags.DEFINE_integer("canvas", 64, "pixels")
SIZE = flags.DEFINE_integer("size", 64, "pixels; what a method sees")
SHOTS = flags.DEFINE_integer("shots", 5, "supports per episode")
BATCH = flags.DEFINE_integer("batch", 8, "episodes per step")
STEPS = flags.DEFINE_integer("steps", 30, "timed steps of each feed and round")
STEP_MS = flags.DEFINE_list("step_ms", ["0", "100"], "what a step computes, in milliseconds")
ROUNDS = flags.DEFINE_integer("rounds", 5, "of all feeds in turn")
OUT = flags.DEFINE_string("out", "runs/speed/data", "writes OUT.json and OUT.md")


class _Batches:
    """Items of a map-style PyTorch dataset: a step's images decoded on the host, one by one."""

    def __init__(self, split, sampler: EpisodeSampler, plan: feed.Plan):
        self.split, self.sampler, self.plan = split, sampler, plan

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, step: int) -> tuple[np.ndarray, ...]:
        records = self.plan.records(self.sampler, step)
        needed = np.concatenate([records.support.ravel(), records.query.ravel()])
        drawn = [banks.draw(self.split, self.split.item_image[i], CANVAS.value) for i in needed]
        columns = (np.stack(column) for column in zip(*drawn, strict=True))
        return *columns, self.split.item_value[needed]


def torch_feed(split, sampler: EpisodeSampler, plan: feed.Plan, workers: int) -> Iterator[tuple]:
    """A DataLoader without batching (an item is a step's batch), then a copy to the device."""
    import torch

    loader = torch.utils.data.DataLoader(
        _Batches(split, sampler, plan), batch_size=None, num_workers=workers,
        collate_fn=lambda item: item,
    )  # fmt: skip
    supports = plan.episodes * SHOTS.value
    local = np.arange(supports + plan.episodes, dtype=np.int32)
    for images, labels, sizes, values in loader:
        bank = Bank(np.asarray(images), np.asarray(labels), np.asarray(sizes, np.int32), local,
                    np.asarray(values))  # fmt: skip
        support = local[:supports].reshape(1, 1, plan.batch, -1)
        query = local[supports:].reshape(1, 1, plan.batch, -1)
        yield replicate(bank, plan.devices), *shard((support, query), plan.devices)


def feeds(split, sampler: EpisodeSampler, plan: feed.Plan) -> dict[str, Iterator[tuple]]:
    bank = replicate(banks.load_bank(split, CANVAS.value), plan.devices)
    found = {
        "bank": feed.bank_feed(bank, sampler, plan, 0, 1_000_000),
        "grain": feed.loader_feed(split, CANVAS.value, sampler, plan, 0, 1_000_000),
    }
    try:
        import torch  # noqa: F401

        found["DataLoader, in this process"] = torch_feed(split, sampler, plan, 0)
        found["DataLoader, 2 workers"] = torch_feed(split, sampler, plan, 2)
    except ImportError:
        print("PyTorch is not installed: its DataLoader is left out", flush=True)
    return found


def make_step(milliseconds: float, devices: list[jax.Device]):
    """Gathers and warps a step's episodes, then multiplies matrices for about so long."""
    matrix = jnp.ones((512, 512)) / 512
    product = jax.jit(lambda a: a @ a)
    product(matrix).block_until_ready()
    before = time.perf_counter()
    for _ in range(20):
        product(matrix).block_until_ready()
    each = (time.perf_counter() - before) / 20
    turns = round(milliseconds / 1e3 / each)

    def step(bank, support, query):
        episode = banks.gather(
            bank, support[0], query[0], support_size=SIZE.value, query_size=SIZE.value,
            score_size=SIZE.value, fill=(0.0, 0.0, 0.0), void="background",
        )  # fmt: skip
        work = jax.lax.fori_loop(0, turns, lambda _, a: a @ a, matrix)
        return work.sum() + sum(leaf.sum() for leaf in jax.tree.leaves(episode))

    return jax.pmap(step, axis_name=AXIS, devices=devices)


def run(step, batches: Iterator[tuple], count: int) -> tuple[float, float]:
    """(seconds, share of them spent waiting) of `count` steps; the feed works on meanwhile."""
    waited, start = 0.0, time.perf_counter()
    for _ in range(count):
        before = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - before
        jax.block_until_ready(step(*batch))
    seconds = time.perf_counter() - start
    return seconds, waited / seconds


def measure(split) -> list[dict]:
    """Every feed under every step length: each round's rate and wait."""
    devices = jax.local_devices()[:1]
    plan = feed.Plan(1, BATCH.value, devices)
    sampler = EpisodeSampler(split.items, shots=SHOTS.value, rule="class_uniform", seed=0)
    rows = []
    for milliseconds in map(float, STEP_MS.value):
        step = make_step(milliseconds, devices)
        known = feeds(split, sampler, plan)
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in known}
        for batches in known.values():
            run(step, batches, 2)
        for _ in range(ROUNDS.value):
            for name, batches in known.items():
                results[name].append(run(step, batches, STEPS.value))
        for name, rounds in results.items():
            known[name].close()
            rates = [STEPS.value * BATCH.value / seconds for seconds, _ in rounds]
            rows.append(
                {
                    "feed": name,
                    "step_ms": milliseconds,
                    "episodes_per_second": float(np.median(rates)),
                    "rounds": [min(rates), max(rates)],
                    "wait_share": float(np.median([wait for _, wait in rounds])),
                }
            )
    return rows


def main() -> None:
    messages.use_compilation_cache()
    split = datasets.open_split(DATASET.value, "train", DATA_DIR.value)
    result = machine.facts() | {"dataset": split.name, "rows": measure(split)}
    header = ["feed", "step computes, ms", "episodes/s (rounds)", "waiting for data"]
    lines = []
    for row in result["rows"]:
        low, high = row["rounds"]
        rate = f"{row['episodes_per_second']:.0f} ({low:.0f} to {high:.0f})"
        lines.append([row["feed"], f"{row['step_ms']:g}", rate, f"{100 * row['wait_share']:.1f}%"])
    note = (
        f"{split.name}, canvas {CANVAS.value} px, {SHOTS.value}-shot, {BATCH.value} episodes a step, "
        f"{STEPS.value} steps in each of {ROUNDS.value} rounds."
    )
    print(tables.save(OUT.value, result, "Feeds", [note, "", *tables.markdown(header, lines)]))


if __name__ == "__main__":
    command.run(main)
