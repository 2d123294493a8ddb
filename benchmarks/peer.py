"""Ours beside PyTorch on the same inputs in the same run, in turn: ratios with their spread.

python -m benchmarks.peer --out runs/speed/peer
python -m benchmarks.peer --modes label --images 10

What the modes are says benchmarks/pairs.py.
"""

import torch
from absl import flags

from benchmarks import cases, command, machine, pairs, tables
from benchmarks.rows import Row
from fss_jax.runtime import messages

CASES = flags.DEFINE_list("cases", list(cases.PUBLISHED), "METHOD/NAME of fss_jax/configs")
MODES = flags.DEFINE_list("modes", ["infer", "cached", "label", "train"], "what to time")
SHOTS = flags.DEFINE_list("shots", ["1", "5"], "supports per episode; labelling has 5")
BATCHES = flags.DEFINE_list("batches", ["1", "8"], "episodes, or images if cached or labelled")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "bfloat16: autocast")
WIDTH = flags.DEFINE_float("width", 1.0, "channel multiplier")
SIZE = flags.DEFINE_integer("size", 0, "sides of all images in pixels; 0: as published")
IMAGES = flags.DEFINE_integer("images", 16, "labelled in one timed call; a multiple of the batches")
COMPILE = flags.DEFINE_boolean("torch_compile", True, "time torch.compile, too")
REPEATS = flags.DEFINE_integer("repeats", 10, "rounds")
BUDGET = flags.DEFINE_float("budget", 90.0, "seconds for the rounds of a row; at least 3 are made")
OUT = flags.DEFINE_string("out", "runs/speed/peer", "writes OUT.json and OUT.md")


def main() -> None:
    messages.use_compilation_cache()
    result = machine.facts() | {
        "dtype": DTYPE.value, "width": WIDTH.value, "size": SIZE.value, "images": IMAGES.value,
        "torch": torch.__version__, "torch_threads": torch.get_num_threads(), "rows": [],
    }  # fmt: skip
    for name in CASES.value:
        for mode in MODES.value:
            if mode not in pairs.MODES:
                raise ValueError(f"mode {mode!r}: expected some of {', '.join(pairs.MODES)}")
            for shots in [pairs.LABEL_SHOTS] if mode == "label" else map(int, SHOTS.value):
                for batch in map(int, BATCHES.value):
                    images = IMAGES.value if mode == "label" else 0
                    row = Row(
                        name, mode, shots, batch, DTYPE.value, width=WIDTH.value, size=SIZE.value,
                        images=images,
                    )  # fmt: skip
                    found = pairs.compare(
                        row, repeats=REPEATS.value, budget=BUDGET.value, compiled=COMPILE.value
                    )
                    result["rows"].append(row.facts() | found)
                    text = tables.save(
                        OUT.value, result, "Ours and PyTorch", tables.beside_torch(result)
                    )
                    print(row, "done", flush=True)
    print(text)


if __name__ == "__main__":
    command.run(main)
