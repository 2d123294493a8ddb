"""One method in both frameworks: the same images, timed in turn.

'infer' runs support and query, 'cached' the query alone with the support's part kept. 'label' segments
images one task after the other's: the released script's way encodes the five supports again for every
image. 'train' is an optimizer step. PyTorch is eager or compiled, whichever is faster there. Both
networks have the same layers (tests/parity holds them to equal results) and their own random weights.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # both share one GPU

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import cases, peers  # noqa: E402
from benchmarks.rows import Row  # noqa: E402
from benchmarks.timing import in_turn, ratio  # noqa: E402
from fss_jax.training.losses import segmentation_loss  # noqa: E402
from fss_jax.training.optimizers import make_optimizer  # noqa: E402

LABEL_SHOTS, LABEL_IMAGES = 5, 500  # FSS-1000 5.5


class Pair:
    """One method in both frameworks, and the same images for both."""

    def __init__(self, row: Row, compiled: bool):
        self.row, self.batch, self.compiled = row, row.batch, compiled
        self.config = row.config()
        self.loaded = cases.Loaded(self.config)
        self.device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        self.peer = peers.build(self.config.method, row.width, self.device)
        rng = np.random.default_rng(0)
        shots, side, query_side = (
            self.config[name] for name in ("shots", "support_size", "query_size")
        )
        batch = row.batch
        support = rng.uniform(0, 255, (batch, shots, side, side, 3)).astype(np.float32)
        mask = (rng.random(support.shape[:-1]) < 0.5).astype(np.float32)
        query = rng.uniform(0, 255, (batch, 1, query_side, query_side, 3)).astype(np.float32)
        truth = (rng.random(query.shape[:-1]) < 0.5).astype(np.float32)
        self.ours = jax.device_put((support, mask, query, truth))
        channels_first = [
            np.moveaxis(x, -1, 2) if x.ndim == 5 else x for x in (support, mask, query)
        ]
        self.theirs = [
            torch.tensor(np.ascontiguousarray(x)).to(self.device) for x in channels_first
        ]
        self.truth = torch.tensor(truth).to(self.device)
        self.variables = jax.device_put(self.loaded.variables)

    def apply(self, method: str | None = None) -> Callable:
        """Our model's function of (variables, arguments), compiled."""
        return jax.jit(
            lambda variables, *args: self.loaded.model.apply(variables, *args, method=method)
        )

    def torch_call(self, fn: Callable, *args: Any, train: bool = False) -> Callable[[], Any]:
        """Runs and waits for PyTorch's function, in inference mode and autocast as asked."""
        cast = torch.autocast(self.device, torch.bfloat16, enabled=self.row.dtype == "bfloat16")
        mode = contextlib.nullcontext() if train else torch.inference_mode()

        def call():
            with mode, cast:
                result = fn(*args)
            if self.device == "cuda":
                torch.cuda.synchronize()
            return result

        return call

    def variants(self, fn: Callable, *args: Any, **kwargs: Any) -> dict[str, Callable[[], Any]]:
        calls = {"torch": self.torch_call(fn, *args, **kwargs)}
        if self.compiled:
            calls["torch.compile"] = self.torch_call(torch.compile(fn), *args, **kwargs)
        return calls


def infer(pair: Pair) -> dict[str, Callable[[], Any]]:
    support, mask, query, _ = pair.ours
    run = pair.apply()
    return {
        "ours": lambda: jax.block_until_ready(run(pair.variables, support, mask, query)),
        **pair.variants(pair.peer, *pair.theirs),
    }


def cached(pair: Pair) -> dict[str, Callable[[], Any]]:
    """One task and all images as its queries."""
    support, mask, query, _ = (x[:1] if i < 2 else x for i, x in enumerate(pair.ours))
    task = pair.apply("condition")(pair.variables, support, mask)
    run, images = pair.apply("segment"), query.swapaxes(0, 1)
    theirs = pair.theirs
    known = pair.torch_call(pair.peer.condition, theirs[0][:1], theirs[1][:1])()
    return {
        "ours": lambda: jax.block_until_ready(run(pair.variables, task, images)),
        **pair.variants(pair.peer.segment, known, theirs[2].transpose(0, 1)),
    }


def label(pair: Pair) -> dict[str, Callable[[], Any]]:
    """IMAGES images, masks brought to the host; supports encoded once, or again for every image."""
    support, mask, query, _ = (np.asarray(x) for x in pair.ours)
    images = np.resize(query[:, 0], (pair.row.images, *query.shape[2:]))
    theirs = [x[:1] for x in pair.theirs[:2]]
    their_images = torch.tensor(np.ascontiguousarray(np.moveaxis(images, -1, 1))).to(pair.device)
    condition, segment = pair.apply("condition"), pair.apply("segment")
    starts = range(0, pair.row.images, pair.batch)

    def ours():
        task = condition(pair.variables, support[:1], mask[:1])
        for start in starts:
            batch = images[None, start : start + pair.batch]
            np.asarray(segment(pair.variables, task, batch) > 0)

    def cached_support(segment):
        def run():
            task = pair.peer.condition(*theirs)
            for start in starts:
                batch = their_images[None, start : start + pair.batch]
                (segment(task, batch) > 0).cpu()

        return run

    def released():
        for image in their_images:
            (pair.peer(*theirs, image[None, None]) > 0).cpu()

    calls = {
        "ours": ours,
        "torch, support encoded for every image": pair.torch_call(released),
        "torch": pair.torch_call(cached_support(pair.peer.segment)),
    }
    if pair.compiled:
        compiled = cached_support(torch.compile(pair.peer.segment))
        calls["torch.compile"] = pair.torch_call(compiled)
    return calls


def train(pair: Pair) -> dict[str, Callable[[], Any]]:
    """Mean cross-entropy, gradient and update: Adam, or SGD with momentum for OSLSM."""
    config = pair.config
    config.loss = "mean"
    config.weight_decay, config.clip, config.lr_multipliers = 0.0, 0.0, ()
    model, optimizer = pair.loaded.model.clone(axis_name=None), make_optimizer(config)
    support, mask, query, truth = pair.ours

    def loss_fn(params, extra):
        logits, updated = model.apply(
            {"params": params, **extra}, support, mask, query, train=True,
            rngs={"dropout": jax.random.key(0)}, mutable=["batch_stats"],
        )  # fmt: skip
        valid = jnp.ones_like(truth)
        return segmentation_loss(logits, truth, valid, kind="mean"), extra | updated

    @jax.jit
    def step(params, extra, opt_state):
        (loss, extra), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, extra)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(jnp.add, params, updates), extra, opt_state, loss

    extra = dict(pair.variables)
    params = extra.pop("params")
    now = [(params, extra, optimizer.init(params))]

    def ours():
        *state, loss = step(*now[0])
        now[0] = tuple(state)
        jax.block_until_ready(loss)

    peer = pair.peer.train()
    if config.optimizer == "adam":
        theirs = torch.optim.Adam(peer.parameters(), config.lr)
    else:
        theirs = torch.optim.SGD(peer.parameters(), config.lr, momentum=config.momentum)

    def torch_step(network):
        def run():
            theirs.zero_grad()
            logits = network(*pair.theirs)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), pair.truth)
            loss.backward()
            theirs.step()

        return run

    calls = {"ours": ours, "torch": pair.torch_call(torch_step(peer), train=True)}
    if pair.compiled:
        compiled = torch_step(torch.compile(peer))
        calls["torch.compile"] = pair.torch_call(compiled, train=True)
    return calls


MODES = {"infer": infer, "cached": cached, "label": label, "train": train}


def compare(row: Row, *, repeats: int, budget: float, compiled: bool = True) -> dict:
    """Times of ours and theirs, and their ratios.

    Args:
      row: its mode is one of MODES.
      repeats, budget: as for `timing.in_turn`.
      compiled: time torch.compile, too.
    """
    with jax.default_matmul_precision(row.precision):
        torch.backends.cuda.matmul.allow_tf32 = row.precision != "float32"
        torch.backends.cudnn.allow_tf32 = row.precision != "float32"
        timings = in_turn(MODES[row.mode](Pair(row, compiled)), repeats, budget)
    known = [name for name in ("torch", "torch.compile") if name in timings]
    fastest = min(known, key=lambda name: timings[name].median)
    found = {
        "times": {key: timing.facts() for key, timing in timings.items()},
        "faster_peer": fastest,
        "speedup": ratio(timings[fastest], timings["ours"]),
    }
    if row.mode == "label":
        again = timings["torch, support encoded for every image"]
        found["speedup_over_released_way"] = ratio(again, timings["ours"])
        found[f"seconds_of_{LABEL_IMAGES}_images_extrapolated"] = {
            key: timing.median * LABEL_IMAGES / row.images for key, timing in timings.items()
        }
    return found
