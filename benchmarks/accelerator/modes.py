"""What a row can be measured by: a function of (row, setting) -> what was found, for each mode."""

import dataclasses
import time
from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine, traces, works
from benchmarks.accelerator import forms
from benchmarks.rows import Row
from benchmarks.timing import in_turn
from fss_jax.data.bank import Bank
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.methods.backbones import vit
from fss_jax.runtime import flops
from fss_jax.scoring import exhaustive, protocols

PICTURES = 64  # different ones of a folder that is labelled
OF_A_CLASS = 10  # images, as in FSS-1000


@dataclasses.dataclass(frozen=True)
class Setting:
    """How rows are timed on this device.

    Attributes:
      rates: FLOP/s of large matrix products, by `Row.rate`.
      repeats, budget: of one row; see `timing.in_turn`.
    """

    rates: dict[str, float]
    repeats: int
    budget: float


def label(row: Row, setting: Setting) -> dict:
    """A folder's images from host memory to masks in host memory, each at its own size."""
    loaded = works.load(row)
    view = protocols.get("uniform").view(loaded.config)
    segmenter = Segmenter(loaded.model, loaded.variables, view, batch=row.batch)
    rng = np.random.default_rng(0)
    side = loaded.config.canvas
    pictures = rng.integers(0, 256, (PICTURES, side, side, 3), np.uint8)
    masks = np.zeros((loaded.config.shots, side, side), np.uint8)
    masks[:, side // 4 : side // 2, side // 4 : side // 2] = 1

    def run(count=row.images):
        segmenter.set_support(list(pictures[: len(masks)]), list(masks))
        for _ in segmenter.stream(pictures[i % PICTURES] for i in range(count)):
            pass

    with jax.default_matmul_precision(row.precision):
        before = time.perf_counter()
        run(row.batch)
        compiling = time.perf_counter() - before
        timing = in_turn({"row": run}, min(3, setting.repeats), setting.budget, warm_up=1)["row"]
    condition, segment = loaded.gmacs(1)
    return _rates(row, setting, timing, condition + segment * row.images, row.images, compiling)


def every_pair(row: Row, setting: Setting) -> dict:
    """All ordered pairs of the images of each class, ten of a class, as `fss evaluate --exhaustive`."""
    loaded = works.load(row)
    size = loaded.config.canvas
    classes = max(1, row.images // OF_A_CLASS)
    each = row.images // classes
    rng = np.random.default_rng(0)
    bank = Bank(
        images=rng.integers(0, 256, (row.images, size, size, 3), np.uint8),
        labels=rng.integers(0, 2, (row.images, size, size), np.uint8),
        sizes=np.full((row.images, 2), size, np.int32),
        item_image=np.arange(row.images, dtype=np.int32),
        item_value=np.ones(row.images, np.int32),
    )
    split = SimpleNamespace(items=[(f"{i:04d}", i // each) for i in range(row.images)])
    view = dataclasses.replace(protocols.get("uniform"), score_size=loaded.config.query_size).view(
        loaded.config
    )
    seconds = []
    with jax.default_matmul_precision(row.precision):
        for _ in range(2):  # the second finds what the first compiled
            before = time.perf_counter()
            found = exhaustive.score_pairs(loaded.model, loaded.variables, bank, split, view)
            seconds.append(time.perf_counter() - before)
    pairs = sum(pair.counts.shape[0] * pair.counts.shape[1] for pair in found)
    return {
        "pairs": pairs,
        "first_s": seconds[0],
        "median_s": seconds[1],
        "quartiles_s": (seconds[1], seconds[1]),
        "episodes_per_second": pairs / seconds[1],
        "images_per_second": row.images / seconds[1],
        "compile_seconds": seconds[0] - seconds[1],
        "peak_bytes": machine.peak_bytes(),
    }


def features(row: Row, setting: Setting) -> dict:
    """Images through a backbone with random weights: what `fitted` on it waits for."""
    network = vit.VARIANTS[row.case](dtype=jnp.dtype(row.dtype))
    side = row.size or 518
    image = np.random.default_rng(0).standard_normal((row.batch, side, side, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), image[:1, :224, :224])
    before = time.perf_counter()
    run = jax.jit(lambda variables, x: network.apply(variables, x)[0])
    compiled = run.lower(variables, image).compile()
    compiling = time.perf_counter() - before
    image = jax.device_put(image)
    calls = {"row": lambda: jax.block_until_ready(compiled(variables, image))}
    timing = in_turn(calls, setting.repeats, setting.budget)["row"]
    gmacs = flops.gmacs(network.apply, variables, image)
    return _rates(row, setting, timing, gmacs, row.batch, compiling)


def _rates(row: Row, setting: Setting, timing, gmacs: float, images: int, compiling: float) -> dict:
    return {
        **works.speeds(row, setting.rates, timing, gmacs, images, images),
        "compile_seconds": compiling,
        "peak_bytes": machine.peak_bytes(),
    }


def profile(row: Row, setting: Setting) -> dict:
    """Where a training step's time goes."""
    config = row.config()
    config.batch = row.batch
    with jax.default_matmul_precision(row.precision):
        return traces.measure(config, min(5, setting.repeats))


def beside_torch(row: Row, setting: Setting) -> dict:
    """Ours and PyTorch's in turn; it fails in a line where PyTorch is not installed."""
    from benchmarks import pairs

    works.forget()
    row = dataclasses.replace(row, mode=row.mode.removeprefix("torch "))
    found = pairs.compare(row, repeats=setting.repeats, budget=setting.budget)
    torch = pairs.torch
    return found | {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def work(row: Row, setting: Setting) -> dict:
    return works.measure(row, setting.rates, setting.repeats, setting.budget)


MODES: dict[str, Callable[[Row, Setting], dict]] = {
    **dict.fromkeys(works.MODES, work),
    "label": label,
    "exhaustive": every_pair,
    "features": features,
    "profile": profile,
    "forms": lambda row, setting: forms.measure(row, setting.repeats, setting.budget),
    **dict.fromkeys(("torch infer", "torch cached", "torch train", "torch label"), beside_torch),
}
