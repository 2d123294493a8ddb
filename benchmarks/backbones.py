"""Products, seconds and memory of an image through a backbone at its usual size, random weights.

python -m benchmarks.backbones --archs dinov2_vits14,dinov2_vitb14 --size 518 --out runs/speed/vit
python -m benchmarks.backbones --archs all --count --out runs/speed/counted    # runs nothing

Where the machine is shared, compare CPU time: it sums over threads and leaves other processes out.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command, machine, tables
from benchmarks.timing import in_turn
from fss_jax.methods.backbones import convnext, vit
from fss_jax.runtime import flops

VARIANTS = vit.VARIANTS | convnext.VARIANTS
ARCHS = flags.DEFINE_list("archs", ["dinov2_vits14_reg"], f"all, or of {', '.join(VARIANTS)}")
SIZE = flags.DEFINE_integer("size", 0, "pixels a side; 0: 518, or 512 where a patch has 16")
BATCH = flags.DEFINE_integer("batch", 1, "images a call")
DTYPES = flags.DEFINE_list("dtypes", ["float32"], "compute types")
COUNT = flags.DEFINE_bool("count", False, "products and memory alone: compile, run nothing")
REPEATS = flags.DEFINE_integer("repeats", 5, "timed calls")
BUDGET = flags.DEFINE_float("budget", 60.0, "seconds for the calls of a backbone")
OUT = flags.DEFINE_string("out", "runs/speed/backbones", "writes OUT.json and OUT.md")


def compiled(arch: str, dtype: str) -> tuple[dict, Any, jax.stages.Compiled]:
    """A row without times: parameters, GMAC an image, memory; variables' shapes and the program."""
    model, side = VARIANTS[arch](dtype=jnp.dtype(dtype)), side_of(arch)
    x = jax.ShapeDtypeStruct((BATCH.value, side, side, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)

    def run(variables, x):
        return model.apply(variables, x)[0]

    program = jax.jit(run).lower(variables, x).compile()
    row = {
        "arch": arch,
        "dtype": dtype,
        "size": side,
        "batch": BATCH.value,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables)),
        "gmacs": flops.gmacs(run, variables, x) / BATCH.value,
        "scratch_bytes": program.memory_analysis().temp_size_in_bytes,
    }
    return row, variables, program


def side_of(arch: str) -> int:
    """Pixels a side, with the default that its patches divide."""
    return SIZE.value or (518 if getattr(VARIANTS[arch](), "patch", 16) == 14 else 512)


def measure(arch: str, dtype: str) -> dict:
    """One row: `compiled`'s and seconds an image, on random weights."""
    row, shapes, program = compiled(arch, dtype)
    rng = np.random.default_rng(0)

    def drawn(shape):
        return jnp.asarray(0.02 * rng.standard_normal(shape.shape, np.float32))

    variables = jax.tree.map(drawn, shapes)
    x = drawn(jax.ShapeDtypeStruct((row["batch"], row["size"], row["size"], 3), jnp.float32))
    timing = in_turn(
        {arch: lambda: jax.block_until_ready(program(variables, x))},
        repeats=REPEATS.value,
        budget=BUDGET.value,
        warm_up=1,
    )[arch]
    return row | timing.facts()


def cells(row: dict) -> list[str]:
    """A row of the table."""
    first = [row["arch"], str(row["size"]), row["dtype"], f"{row['parameters']:,}"]
    first += [f"{row['gmacs']:.1f}"]
    first += [f"{row['scratch_bytes'] / 2**20:.0f}"]
    if COUNT.value:
        return first
    return [*first, *(f"{row[name] / row['batch']:.2f}" for name in ("best_s", "cpu_best_s"))]


def main() -> None:
    archs = list(VARIANTS) if ARCHS.value == ["all"] else ARCHS.value
    facts = machine.facts()
    rows = []
    for arch, dtype in itertools.product(archs, DTYPES.value):
        rows.append(compiled(arch, dtype)[0] if COUNT.value else measure(arch, dtype))
    header = ["backbone", "pixels", "dtype", "parameters", "GMAC / image"]
    header += ["MiB besides weights and image"]
    header += [] if COUNT.value else ["s / image", "CPU s / image"]
    lines = tables.markdown(header, [cells(row) for row in rows])
    print(tables.save(OUT.value, facts | {"rows": rows}, "Backbones", lines))


if __name__ == "__main__":
    command.run(main)
