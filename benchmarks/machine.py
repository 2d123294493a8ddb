"""The machine under test: what it is, its matrix rate and its memory."""

import os
import resource

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turn
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import processor

PRODUCTS = 4  # in one measured call


def matrix_rate(kind: str = "float32", size: int = 0, budget: float = 20.0) -> float:
    """FLOP/s of a large matrix product on the first device, the best of ten: what MFU refers to.

    Args:
      kind: 'bfloat16', or a precision of float32 products: 'float32', 'tensorfloat32'.
      size: rows and columns; 0: 8192, on a CPU 2048.
      budget: seconds.
    """
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
    a = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5

    @jax.jit
    def multiply(a):
        b = a
        for _ in range(PRODUCTS):
            b = b @ a
        return b

    with jax.default_matmul_precision("default" if kind == "bfloat16" else kind):
        timing = in_turn({"product": lambda: jax.block_until_ready(multiply(a))}, budget=budget)
    return 2 * PRODUCTS * size**3 / timing["product"].best


def memory_bandwidth(size: int = 0) -> float:
    """Bytes/s that the first device reads and writes while adding to a large array, the best of ten.

    Args:
      size: numbers; 0: a GiB of float32, on a CPU a sixteenth of it.
    """
    size = size or (2**24 if jax.default_backend() == "cpu" else 2**28)
    x = jnp.ones(size, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    timing = in_turn({"add": lambda: jax.block_until_ready(add(x))}, budget=10.0)
    return 2 * x.nbytes / timing["add"].best


def peak_bytes() -> int:
    """Most memory in use since the process began: of the first device, on a CPU of the process."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def instructions() -> str:
    """The widest vector instructions of an x86 machine's cores; '' where they are not known."""
    known = {"avx512f": "AVX-512", "avx2": "AVX2 without AVX-512", "avx": "AVX"}
    return next((name for flag, name in known.items() if flag in processor.instructions()), "")


def facts() -> dict:
    """`provenance`, what the machine's cores are, and how busy it was."""
    return {
        **provenance(),
        "cpus": os.cpu_count(),
        "instructions": instructions(),
        "load_average": os.getloadavg()[0],
    }


def line(facts: dict) -> str:
    """`facts` as a sentence."""
    cores = f"{facts['cpus']} CPU cores"
    if facts.get("instructions"):  # older files lack them
        cores += f" ({facts['instructions']})"
    return (
        f"{provenance_line(facts)}; {cores}, load average at the start {facts['load_average']:.1f}."
    )


def gibibytes(number: float) -> str:
    return f"{number / 2**30:.2f}"
