"""The training loop, read from top to bottom: evaluate, save, next records, step, log."""

import dataclasses
import functools
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from fss_jax import methods, weights
from fss_jax.data import bank as banks
from fss_jax.data import datasets, feed
from fss_jax.data.records import EpisodeSampler, records_sha256
from fss_jax.data.view import View, fill_color
from fss_jax.reports import curve
from fss_jax.runtime import checkpoints, files, locks, memory, precision
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import (
    AXIS,
    first,
    is_lead,
    local_devices,
    of_all_processes,
    replicate,
    that_share,
)
from fss_jax.scoring import evaluation, frozen, metrics, protocols
from fss_jax.training import checks, sharded
from fss_jax.training.journal import Journal
from fss_jax.training.losses import segmentation_loss
from fss_jax.training.optimizers import held, make_optimizer
from fss_jax.training.step_memory import check_memory

log = logging.getLogger(__name__)

DATA_SCOPE, OPTIMIZER_SCOPE = "episode", "optimizer"  # names in a profile
LESS = (
    "lower config.batch (config.accumulate makes the same update of it), or set config.bank=loader or "
    "config.remat=True (--dry_run goes through all that needs less)"
)


def episode_loss(model: nn.Module, config: ConfigDict) -> tuple[Callable, Callable]:
    """How a step makes its batch and what it minimizes.

    Returns:
      (bank, support [B, K], query [B, Q], key) -> episode, and
      (params, extra, episode, key) -> (loss, (extra, pixel counts [4])).
    """
    view = View(
        support_size=config.support_size,
        query_size=config.query_size,
        score_size=config.query_size,
        canvas=config.canvas,
        fill=fill_color(config),
        void=config.void,
    )

    def loss_fn(params, extra, episode, key):
        images = (episode.support_image, episode.support_mask, episode.query_image)
        apply = functools.partial(
            model.apply,
            {"params": params, **extra},
            *images,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats", "losses"],
        )
        logits, updated = apply()
        if config.loss in model.own_losses:  # XLA shares the features
            loss, _ = apply(episode.query_mask, method=model.own_losses[config.loss])
        else:
            loss = segmentation_loss(
                logits,
                episode.query_mask,
                episode.query_valid,
                kind=config.loss,
                foreground_weight=config.foreground_weight,
                axis_name=AXIS,
            )
        loss += sum(jax.tree.leaves(updated.pop("losses", {})))
        counts = metrics.confusion(logits > 0, episode.query_mask, episode.query_valid)
        return loss, (extra | updated, counts.sum((0, 1)))

    return view.episode, loss_fn


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
    make_loss: Callable[[nn.Module, ConfigDict], tuple[Callable, Callable]] = episode_loss,
) -> Callable:
    """(state, bank, support [T, B, K], query [T, B, Q]) -> (state, metrics [T]), for one device.

    T steps run inside one call (`lax.scan`); gradients and metrics are averaged over the devices.
    """
    gather, loss_fn = make_loss(model, config)
    travels = jnp.dtype(config.get("gradient_dtype", "float32"))  # older checkpoints' lack it
    dropout_key = jax.random.fold_in(jax.random.key(config.seed), 1)
    in_parts = config.get("shard_optimizer", False)
    update = sharded.update if in_parts else sharded.whole_update

    def loss_of(params, *given):
        return loss_fn(held(params, config.lr_multipliers), *given)

    def step(state: TrainState, records, bank):
        key = jax.random.fold_in(
            jax.random.fold_in(dropout_key, state.step), jax.lax.axis_index(AXIS)
        )
        with jax.named_scope(DATA_SCOPE):
            episode = gather(bank, *records, jax.random.fold_in(key, 1))
        (loss, (extra, counts)), grads = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, state.extra, episode, key
        )
        with jax.named_scope(OPTIMIZER_SCOPE):
            params, opt_state, norm = update(
                optimizer, grads, state.opt_state, state.params, travels
            )
        measured = {
            "loss": jax.lax.pmean(loss, AXIS),
            "grad_norm": norm,
            "param_norm": optax.tree.norm(params),
            "counts": jax.lax.psum(counts, AXIS),
        }
        return TrainState(state.step + 1, params, extra, opt_state), measured

    def steps(state: TrainState, bank, support, query):
        if jax.default_backend() != "cpu":
            return jax.lax.scan(lambda s, records: step(s, records, bank), state, (support, query))
        # XLA's CPU backend takes 30 times as long for a convolution's weight gradient inside a loop
        # as outside (measured, jax 0.10.2), even in a scan of one step.
        measured = []
        for records in zip(support, query, strict=True):
            state, values = step(state, records, bank)
            measured.append(values)
        return state, jax.tree.map(lambda *values: jnp.stack(values), *measured)

    return steps


class Validation:
    """A fixed list of episodes of training or validation classes, scored now and then.

    Args:
      drawn: the whole list; by default it is drawn here.
    """

    def __init__(
        self,
        model: nn.Module,
        config: ConfigDict,
        devices: list[jax.Device],
        drawn: checks.Drawn | None = None,
    ):
        self.protocol = protocols.get(config.val_protocol)
        drawn = drawn or checks.draw(config, self.protocol, config.val_split)
        self.split, self.records = drawn.split, drawn.records[: config.val_episodes]
        self.model, self.config, self.devices = model, config, devices
        view = self.protocol.view(config)
        self.evaluator = evaluation.Evaluator(
            model, view, devices, batch=config.eval_batch, with_trivial=False
        )
        used = np.unique(
            self.split.item_image[np.concatenate([self.records.support, self.records.query], 1)]
        )
        self.used = used.tolist()
        self.bank = banks.load_bank(self.split, config.canvas, self.used)
        self.replicated = None if frozen.wanted(config) else replicate(self.bank, devices)

    def score(self, state: TrainState) -> metrics.Scores:
        """The scores of a replicated state."""
        if self.replicated is None:
            variables = first(state.variables)
            found = frozen.features_of(self.config, self.model, variables, self.split)
            bank = found.bank(self.split, self.config.canvas, self.used)
            self.replicated = replicate(bank, self.devices)
        counts = self.evaluator.counts(state.variables, self.replicated, self.records)["method"]
        return metrics.score(
            *evaluation.flat_counts(counts, self.records, self.split.item_image),
            self.protocol.metric,
        )

    def picture(self, state: TrainState, path: Path, count: int = 8) -> None:
        """Draws the first few episodes and their predictions."""
        records = self.records[:count]
        self.evaluator.draw(path, first(state.variables), self.bank, records, self.split)


@contextmanager
def _stop_on_sigterm() -> Iterator[Callable[[int], bool]]:
    """Within, SIGTERM only sets a flag, so that the loop can save first.

    Of several processes each may be told at another step: JAX's preemption service, which then
    listens for the signal, agrees on one.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    received = []
    previous = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
    try:
        yield lambda step: bool(received)
    finally:
        signal.signal(signal.SIGTERM, previous)


@dataclasses.dataclass(frozen=True)
class Learner:
    """What the loop trains; by default a method, on episodes.

    Attributes:
      build: config -> module.
      init: (module, config) -> fresh variables.
      view: (split, config) -> the split as the bank is to hold it.
      loss: see `episode_loss`.
      validation: `Validation` or its like.
    """

    build: Callable = methods.build_from
    init: Callable = methods.init_variables
    view: Callable = lambda split, config: split
    loss: Callable = episode_loss
    validation: type = Validation


def training_episodes(
    config: ConfigDict, learner: Learner
) -> tuple[datasets.Split, EpisodeSampler]:
    """The training split as the config filters it, and the stream of its episodes."""
    split = datasets.open_split(config.dataset, config.train_split, config.data_dir)
    split = split.without_small(min_lattice_hits=config.min_lattice_hits)
    split = learner.view(checks.usable(split, config, config.queries), config)
    sampler = EpisodeSampler(
        split.items, shots=config.shots, queries=config.queries, rule=config.rule, seed=config.seed
    )
    return split, sampler


def train(
    config: ConfigDict,
    workdir: str | Path,
    device_count: int = 0,
    learner: Learner = Learner(),  # noqa: B008  frozen
) -> float:
    """Trains or resumes the run of a workdir; returns the last validation mIoU.

    Raises:
      ValueError, FileNotFoundError: settings, data or checkpoints that do not fit, or another
        training in the workdir; one line each.
    """
    workdir = files.local(workdir)
    with locks.alone(workdir) if is_lead() else nullcontext():
        files.clean(workdir)
        return _train(config, workdir, device_count, learner)


def _train(config: ConfigDict, workdir: Path, device_count: int, learner: Learner) -> float:
    checks.check(config)
    devices = that_share(config.batch, local_devices(device_count))
    precision.use(config)
    split, sampler = training_episodes(config, learner)
    lists = checks.check_lists(config)
    first_records = records_sha256(sampler.records(0, 1000))
    optimizer = make_optimizer(config, frozen.stays(config, learner.build(config)))

    # Start order: 1. the workdir's own checkpoint, 2. --config.init (another workdir or foreign
    # weights), 3. from scratch. Preprocessing belongs to the weights and comes with them.
    resuming, unlogged = bool(checkpoints.finished_steps(workdir)), []
    if resuming:
        folder = checkpoints.newest_whole(workdir)
        stored, known = checkpoints.load_meta(folder)
        checks.check_continues(config, first_records, stored, known["first_records_sha256"], folder)
        config.model.preprocessing = stored.model.preprocessing
        unlogged = known["unlogged"]
    variables = learner.init(learner.build(config), config)
    if config.init and not resuming:
        variables = weights.start(config, variables)
    params = variables.pop("params")
    state = TrainState(jnp.int32(0), params, variables, optimizer.init(params))
    model = learner.build(config)
    validation = learner.validation(model, config, devices, lists["validation"])
    meta = {
        "config": json.loads(config.to_json()),
        "dataset": split.name,
        "first_records_sha256": first_records,
    }

    plan = feed.Plan(
        config.steps_per_dispatch, config.batch // (len(devices) * jax.process_count()), devices
    )
    resident = feed.choose_bank(config.bank, split, config.canvas, devices[0])
    steps = make_train_step(model, optimizer, config, learner.loss)
    if not frozen.wanted(config):  # a head alone needs a fraction
        check_memory(steps, state, split, config, plan, resident)

    if resuming:
        checkpoints.set_aside(workdir, folder)
    with checkpoints.Checkpoints(workdir) as store, ExitStack() as entered:
        miou = -1.0
        if resuming:
            state, miou = store.restore(state)
            log.info("resuming %s at step %d", workdir, int(state.step))
        start = int(state.step)
        features = frozen.features_of(config, model, state.variables, split, more=True)
        if features:
            resident = feed.choose_bank(
                config.bank, split, config.canvas, devices[0], features=features
            )
        # Not earlier: features take minutes, and until here there is nothing to save.
        stopping = entered.enter_context(_stop_on_sigterm())
        kept = jax.eval_shape(lambda: state.opt_state)
        state = sharded.place(state, devices, config.shard_optimizer)

        if resident:
            load = features.bank if features else banks.load_bank
            bank = replicate(load(split, config.canvas), devices)
            batches = feed.bank_feed(bank, sampler, plan, start, config.steps)
        else:
            batches = feed.loader_feed(
                split, config.canvas, sampler, plan, start, config.steps, features=features
            )
        train_step = jax.pmap(
            steps,
            axis_name=AXIS,
            devices=of_all_processes(devices),
            donate_argnums=0,
        )

        journal = Journal(workdir, config, start, sampler, unlogged)
        pending: tuple | None = None
        step, stop = start, False
        try:
            while step < config.steps and not stop:
                before = time.perf_counter()
                batch = next(batches)
                waited = time.perf_counter() - before
                try:
                    state, measured = train_step(state, *batch)
                except jax.errors.JaxRuntimeError as error:
                    if memory.is_exhausted(error):
                        raise ValueError(f"{devices[0]} ran out of memory: {LESS}") from error
                    raise
                if step == start:  # compiling is not training: leave it out of the rates
                    jax.block_until_ready(measured)
                    log.info("first step done")
                    journal.restart_clock(unmeasured=plan.steps)
                step += plan.steps
                if pending:  # one dispatch late, so that the device never waits for the host
                    journal.add(*pending)
                pending = (step, measured, waited)
                stop = stopping(step)
                scored = step % config.eval_every == 0 or step == config.steps
                if scored or stop:
                    journal.add(*pending)
                    pending = None
                    if scored:
                        miou = validation.score(state).miou
                        journal.write({"step": step, "val_miou": miou})
                        if is_lead():
                            validation.picture(state, workdir / "pictures" / f"step_{step:07d}.png")
                    meta["unlogged"] = list(journal.unlogged)
                    whole = sharded.fetch(state, kept, config.shard_optimizer)
                    store.save(whole, meta, miou if scored else -1.0)
                    journal.restart_clock()
        finally:
            journal.close()
            store.wait()
            batches.close()
    if stop:
        log.info("stopped and saved at step %d; the same command resumes", step)
    if is_lead() and journal.path.exists():
        curve.training_curve(workdir)
    return miou
