"""Seconds and memory of an image through a backbone at its usual size, random weights.

python -m benchmarks.backbones --archs dinov2_vits14,dinov2_vitb14 --size 518 --out runs/speed/vit

Where the machine is shared, compare CPU time: it sums over threads and leaves other processes out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import command, machine, tables
from benchmarks.timing import in_turn
from fss_jax.methods.backbones import convnext, vit

VARIANTS = vit.VARIANTS | convnext.VARIANTS
ARCHS = flags.DEFINE_list("archs", ["dinov2_vits14_reg"], f"of {', '.join(VARIANTS)}")
SIZE = flags.DEFINE_integer("size", 0, "pixels a side; 0: 518, or 512 where a patch has 16")
BATCH = flags.DEFINE_integer("batch", 1, "images a call")
DTYPES = flags.DEFINE_list("dtypes", ["float32"], "compute types")
REPEATS = flags.DEFINE_integer("repeats", 5, "timed calls")
BUDGET = flags.DEFINE_float("budget", 60.0, "seconds for the calls of a backbone")
OUT = flags.DEFINE_string("out", "runs/speed/backbones", "writes OUT.json and OUT.md")


def measure(arch: str, dtype: str) -> dict:
    """One row: seconds an image and memory beside weights and image, at `SIZE`."""
    model = VARIANTS[arch](dtype=jnp.dtype(dtype))
    side = SIZE.value or (518 if getattr(model, "patch", 16) == 14 else 512)
    x = np.random.default_rng(0).standard_normal((BATCH.value, side, side, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x[:1, :224, :224])
    run = jax.jit(lambda variables, x: model.apply(variables, x)[0]).lower(variables, x).compile()
    timing = in_turn(
        {arch: lambda: jax.block_until_ready(run(variables, x))},
        repeats=REPEATS.value,
        budget=BUDGET.value,
        warm_up=1,
    )[arch]
    return {
        "arch": arch,
        "dtype": dtype,
        "size": side,
        "batch": BATCH.value,
        "scratch_bytes": run.memory_analysis().temp_size_in_bytes,
        **timing.facts(),
    }


def main() -> None:
    facts = machine.facts()
    rows = [measure(arch, dtype) for arch in ARCHS.value for dtype in DTYPES.value]
    header = ["backbone", "pixels", "dtype", "s / image", "CPU s / image", "GiB besides weights"]
    lines = tables.markdown(
        header,
        [
            [
                row["arch"],
                str(row["size"]),
                row["dtype"],
                f"{row['best_s'] / row['batch']:.2f}",
                f"{row['cpu_best_s'] / row['batch']:.2f}",
                machine.gibibytes(row["scratch_bytes"]),
            ]
            for row in rows
        ],
    )
    print(tables.save(OUT.value, facts | {"rows": rows}, "Backbones", lines))


if __name__ == "__main__":
    command.run(main)
