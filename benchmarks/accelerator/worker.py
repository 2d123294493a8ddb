"""The process that holds the device: reads rows as JSON lines, answers each with a line.

It is one process for many rows, since starting on a device takes many seconds; whoever started it
kills it if a row takes too long, and starts another if a row killed it.
"""

import gc
import json
import os
import sys

import jax

from benchmarks import machine, tables, works
from benchmarks.accelerator import modes
from benchmarks.rows import from_facts
from fss_jax.runtime import memory, messages

RATES = ("bfloat16", "tensorfloat32", "float32")


def facts(toy: bool) -> dict:
    """The device and what it reaches."""
    size, budget = (256, 1.0) if toy else (0, 5.0)
    return machine.facts() | {
        "matrix_rate": {kind: machine.matrix_rate(kind, size, budget) for kind in RATES},
        "memory_bandwidth": machine.memory_bandwidth(2**20 if toy else 0),
        "device_bytes": memory.device_bytes(jax.devices()[0]),
    }


def answer(asked: dict, setting: modes.Setting) -> dict:
    """What a row gave: any failure is one line of it."""
    row = from_facts(asked)
    try:
        return modes.MODES[row.mode](row, setting)
    except Exception as error:  # whatever one row meets, the others go on
        return {"failed": tables.one_line(error)}
    finally:
        if row.mode not in works.MODES:  # the next row may be of the same method
            works.forget()
        gc.collect()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    given = json.loads(sys.argv[1])

    def say(what: dict) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    messages.use_compilation_cache()
    known = given.get("rates")
    found = {} if known else facts(given["toy"])
    say(found)
    setting = modes.Setting(known or found["matrix_rate"], given["repeats"], given["row_budget"])
    for line in sys.stdin:
        say(answer(json.loads(line), setting))


if __name__ == "__main__":
    main()
