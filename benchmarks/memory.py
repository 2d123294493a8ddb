"""Bytes that a training step needs on each device under every switch that lowers them, by tracing.

python -m benchmarks.memory --cases oslsm/release --devices 1,8 --out docs/results/memory_oslsm

Nothing is compiled or run, and no data is read: only the number of training images counts, for the
bank that lies on the device. XLA's scratch space is not in the count, which may be a third off
(fss_jax/runtime/memory.py).
"""

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks import command, machine, tables
from fss_jax import configs
from fss_jax.data.datasets import Split
from fss_jax.training import base_network
from fss_jax.training.dry_run import (
    GIB,
    state_shapes,
    step_needs,
    tree_bytes,
    variable_shapes,
    ways,
)  # fmt: skip

CASES = flags.DEFINE_list("cases", ["oslsm/release"], "METHOD/NAME of fss_jax/configs")
DEVICES = flags.DEFINE_list("devices", ["1", "8"], "numbers of devices")
GIB_OF_DEVICE = flags.DEFINE_float("device_gib", 16.0, "memory of a device")
IMAGES = flags.DEFINE_integer(
    "images", 5953, "training images; VOC 2012 and SBD hold 5953 that are not in VOC's val"
)
OUT = flags.DEFINE_string("out", "runs/speed/memory", "writes OUT.json and OUT.md")


def images(count: int) -> Split:
    """A split of so many images with an item each, of which nothing can be read."""
    number = np.arange(count, dtype=np.int32)
    names = tuple(map(str, range(count)))
    return Split(
        "counted", ("background", "it"), names, number, tuple((name, 1) for name in names),
        item_image=number, item_value=number, item_area=number, item_lattice_hits=number, source=(),
    )  # fmt: skip


def rows(name: str, count: int, split: Split) -> list[dict]:
    """A config's needs as published, with one episode on each device, and with each switch from there.

    `bytes` has the switch and all those above it, `alone` the switch on one episode a device.
    """
    config = configs.get(name)
    devices = jax.devices()[:1] * count  # tracing reads how many there are
    learner = base_network.learner_of(config)
    variables = variable_shapes(config, learner)

    def needs(config: ConfigDict, resident: bool) -> int:
        return step_needs(config, learner, variables, split, devices, resident)

    each = max(1, config.batch // count)
    config.batch = each * count
    published = f"{each} episode{'s' * (each > 1)} a device, bank on the device"
    found = [{"switch": published, "bytes": needs(config, True)}]
    config.bank = "loader"
    found.append({"switch": "config.bank=loader", "bytes": needs(config, False)})
    if each > 1:
        config.update({"batch": count, "accumulate": each, "steps": config.steps * each})
        told = f"one episode a device: config.batch={count} config.accumulate={each}"
        found.append({"switch": told, "bytes": needs(config, False)})
    one = config.copy_and_resolve_references()
    for position, (changes, told) in enumerate(ways(one, devices, resident=False)):
        config.update(changes)
        row = {"switch": told, "bytes": needs(config, False)}
        alone = one.copy_and_resolve_references()
        alone.update(changes)
        row["alone"] = needs(alone, False) if position else row["bytes"]
        found.append(row)
    return [{"case": name, "devices": count, **row} for row in found]


def table(result: dict) -> list[str]:
    lines = []
    for case, count in dict.fromkeys((r["case"], r["devices"]) for r in result["rows"]):
        parts = result["state"][case]
        said = ", ".join(f"{what} {machine.gibibytes(size)}" for what, size in parts.items())
        cells = [
            [
                row["switch"],
                machine.gibibytes(row["alone"]) if "alone" in row else "",
                machine.gibibytes(row["bytes"]),
                "yes" if row["bytes"] <= result["device_gib"] * GIB else "no",
            ]
            for row in result["rows"]
            if (row["case"], row["devices"]) == (case, count)
        ]
        fits = f"fits {result['device_gib']:g} GiB"
        header = ["switch", "alone, GiB", "with all above, GiB", fits]
        lines += [f"## {case}, {count} device{'s' * (count > 1)}", "", f"State, GiB: {said}.", ""]
        lines += [*tables.markdown(header, cells), ""]
    return [*lines, f"A bank of {result['images']} images. Traced, not measured."]


def main() -> None:
    split = images(IMAGES.value)
    found = machine.facts() | {"device_gib": GIB_OF_DEVICE.value, "images": IMAGES.value}
    found |= {"state": {}, "rows": []}
    for name in CASES.value:
        config = configs.get(name)
        learner = base_network.learner_of(config)
        state = state_shapes(config, learner, variable_shapes(config, learner))
        trees = {"parameters": state.params, "gradient": state.params, "optimizer": state.opt_state}
        found["state"][name] = {what: tree_bytes(tree) for what, tree in trees.items()}
        for count in map(int, DEVICES.value):
            found["rows"] += rows(name, count, split)
    print(tables.save(OUT.value, found, "Memory of a training step", table(found)))


if __name__ == "__main__":
    command.run(main)
