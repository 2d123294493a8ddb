"""The same layer in several forms, forward and with its gradients: which one a device likes.

Float32 is this package's own form; on accelerators all are compiled by XLA, whose library is cuDNN on
NVIDIA's.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rows import Row
from benchmarks.timing import in_turn

Form = tuple[Callable, tuple[jax.Array, ...]]  # (function of arrays, the arrays)
CHANNELS_LAST, CHANNELS_FIRST = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")


def _arrays(dtype: str, *shapes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


def _conv(numbers: tuple[str, str, str], padding: str = "SAME") -> Callable:
    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)

    return conv


def layouts(batch: int, side: int, dtype: str) -> dict[str, Form]:
    """conv3_2 of VGG-16, 256 to 256 channels: channels last, as all of this package, and first."""
    side, wide = side or 56, 256
    last = _arrays(dtype, (batch, side, side, wide), (3, 3, wide, wide))
    first = _arrays(dtype, (batch, wide, side, side), (wide, wide, 3, 3))
    return {
        "channels last": (_conv(CHANNELS_LAST), last),
        "channels first": (_conv(CHANNELS_FIRST), first),
    }


def first_layer(batch: int, side: int, dtype: str) -> dict[str, Form]:
    """conv1_1, 3 to 64 channels: as it is, and with zero channels beside the three."""
    side = side or 224
    found = {}
    for channels in (3, 4, 8):
        arrays = _arrays(dtype, (batch, side, side, channels), (3, 3, channels, 64))
        found[f"{channels} channels"] = (_conv(CHANNELS_LAST), arrays)
    return found


def fc6(batch: int, side: int, dtype: str) -> dict[str, Form]:
    """fc6 over OSLSM's query of 500 pixels: a 7x7 convolution, and gathered windows with one product."""
    side, size, wide, outputs = (side, 3, 32, 64) if side else (23, 7, 512, 4096)
    arrays = _arrays(dtype, (batch, side, side, wide), (size, size, wide, outputs))

    def product(x, kernel):
        out = side - size + 1
        shifted = [x[:, i : i + out, j : j + out] for i in range(size) for j in range(size)]
        return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, outputs)

    return {"convolution": (_conv(CHANNELS_LAST, "VALID"), arrays), "product": (product, arrays)}


FORMS = {"layouts of conv3_2": layouts, "channels of conv1_1": first_layer, "forms of fc6": fc6}


def measure(row: Row, repeats: int, budget: float) -> dict:
    """Milliseconds of each form of a layer, forward and with both gradients, in turn."""
    calls = {}
    for name, (run, arrays) in FORMS[row.case](row.batch, row.size, row.dtype).items():

        def loss(*given, run=run):
            return jnp.square(run(*given).astype(jnp.float32)).mean()

        for what, fn in (("forward", run), ("with gradients", jax.grad(loss, (0, 1)))):
            compiled = jax.jit(fn)
            calls[f"{name}, {what}"] = lambda compiled=compiled, arrays=arrays: (
                jax.block_until_ready(compiled(*arrays))
            )
    with jax.default_matmul_precision(row.precision):
        timings = in_turn(calls, repeats, budget)
    return {"forms": {name: timing.facts() for name, timing in timings.items()}}
