"""Checkpoints of a workdir (Orbax): the latest two and the best are kept, written in the background.

What is read is compared with what was saved (`digests`): a damaged checkpoint is named, and where
another one is whole, that is taken and said.
"""

import contextlib
import functools
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from fss_jax.runtime import digests, files
from fss_jax.runtime.digests import Damaged

log = logging.getLogger(__name__)

DAMAGED = "damaged_checkpoints"  # folder of a workdir: what a resumed training could not use
_MIOU = "miou"
_policies = ocp.checkpoint_managers


@flax.struct.dataclass
class TrainState:
    """What a step changes: arrays, or while it is restored, descriptions of them.

    Attributes:
      step: int32, steps done = position in the stream of records.
      params: trained.
      extra: the other variable collections: batch statistics, hash tables.
      opt_state: of the optimizer.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, **self.extra}


class Checkpoints:
    """The checkpoints of one workdir; a context manager that waits for pending writes on exit."""

    def __init__(self, workdir: str | Path):
        self.folder = files.local(workdir).absolute() / "checkpoints"

        def miou(metrics):
            return metrics["miou"]

        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=miou,
                best_mode="max",
                preservation_policy=_policies.AnyPreservationPolicy(
                    [_policies.LatestN(2), _policies.BestN(get_metric_fn=miou, n=1)]
                ),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        return self._manager.best_step()

    def save(self, state: TrainState, meta: dict, miou: float) -> None:
        """Starts writing a checkpoint; returns before it is on disk.

        Args:
          meta: JSON-able: config, dataset, hash of the first records.
          miou: of the last validation (-1 before the first), decides which one is the best.
        """
        meta = digests.seal(meta | {_MIOU: miou}, state)
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
            ),
            metrics={"miou": miou},
        )

    def restore(self, target: TrainState) -> tuple[TrainState, float]:
        """The latest state, as host arrays, and its validation mIoU.

        Raises:
          Damaged: it is not what was saved (see `newest_whole`).
          ValueError: the stored tree is not `target`'s: another model or optimizer.
        """
        step = self.latest_step
        folder = self.folder / str(step)
        abstract = jax.tree.map(np.asarray, target)
        _, known, saved = _read_meta(folder)
        try:
            if saved is not None:
                digests.same_kinds(abstract, saved)
            with _as_damage(folder) if saved is not None else contextlib.nullcontext():
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)),
                )
            _same_shapes(restored.state, abstract)
        except Damaged:
            raise
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} does not fit this config's model "
                "and optimizer; use the config it was trained with or another --workdir "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        if saved is not None:
            with _as_damage(folder):
                digests.same_bytes(restored.state, saved)
        return restored.state, _miou(folder, known)

    def wait(self) -> None:
        """Returns once everything is on disk."""
        self._manager.wait_until_finished()


def _same_shapes(restored: TrainState, target: TrainState) -> None:
    """Raises ValueError for a leaf of another shape, which Orbax restores as it was stored."""
    for (path, have), want in zip(
        jax.tree.leaves_with_path(restored), jax.tree.leaves(target), strict=True
    ):
        if np.shape(have) != want.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} is {np.shape(have)}, expected {want.shape}")


def finished_steps(workdir: str | Path) -> list[int]:
    """The steps of a workdir's finished checkpoints, ascending; empty if there is none."""
    folders = (files.local(workdir).absolute() / "checkpoints").glob("*")
    return sorted(int(path.name) for path in folders if path.name.isdigit() and path.is_dir())


def checkpoint_folder(workdir: str | Path, which: str = "best") -> Path:
    """The folder of a finished checkpoint: 'best' (by validation mIoU), 'latest', or a step number.

    Raises:
      FileNotFoundError: the workdir holds none, or not that step.
    """
    folder = files.local(workdir).absolute() / "checkpoints"
    steps = finished_steps(workdir)
    if not steps:
        raise FileNotFoundError(
            f"no checkpoint in {folder}; train first: fss train --workdir {workdir} --config ..."
        )
    if which == "latest":
        return folder / str(steps[-1])
    if which == "best":
        return folder / str(max(steps, key=lambda step: (_rank(folder / str(step)), step)))
    if which.isdigit() and int(which) in steps:
        return folder / which
    raise FileNotFoundError(
        f"no checkpoint {which!r} in {folder}; it holds steps {', '.join(map(str, steps))}"
    )


def _rank(folder: Path) -> float:
    """A checkpoint's validation mIoU; first of all one that cannot say, so that this comes out."""
    try:
        return _miou(folder, _read_meta(folder)[1])
    except Damaged:
        return float("inf")


def _miou(folder: Path, meta: dict) -> float:
    if _MIOU in meta:
        return meta[_MIOU]
    metrics = folder / "metrics" / "metrics"  # of a checkpoint without digests
    with _as_damage(folder):
        return float(json.loads(metrics.read_text())["miou"]) if metrics.is_file() else -1.0


class Checkpoint(NamedTuple):
    """A checkpoint as it was saved.

    Attributes:
      variables: parameters and other collections as numpy, without the optimizer state.
      meta: see `load_meta`.
    """

    folder: Path
    config: ConfigDict
    meta: dict
    variables: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.folder.name)


def load(workdir: str | Path, which: str = "best") -> Checkpoint:
    """Reads a checkpoint. If the best or the latest is damaged, another one, and says so.

    Args:
      which: as for `checkpoint_folder`; a step number is read or refused, never replaced.

    Raises:
      FileNotFoundError: the workdir holds none, or not that step.
      Damaged: that step, or all there are.
    """
    folder = checkpoint_folder(workdir, which)
    try:
        return _load(folder)
    except Damaged as error:
        if which.isdigit():
            raise
        said = str(error)
    for step in reversed(finished_steps(workdir)):
        if step != int(folder.name):
            try:
                found = _load(folder.parent / str(step))
            except Damaged:
                continue
            log.warning("%s; taking step %d instead", said, step)
            return found
    raise Damaged(f"{said}; no other checkpoint there is whole")


def _load(folder: Path) -> Checkpoint:
    config, meta = load_meta(folder)
    return Checkpoint(folder, config, meta, load_variables(folder))


def newest_whole(workdir: str | Path) -> Path:
    """The folder of the newest checkpoint that is as it was saved, with its optimizer state.

    Says which newer ones are damaged; `set_aside` makes room for a training that goes on before
    them.

    Raises:
      FileNotFoundError: there is none; Damaged: all are.
    """
    newest = checkpoint_folder(workdir, "latest")
    said = []
    for step in reversed(finished_steps(workdir)):
        folder = newest.parent / str(step)
        try:
            _, known, saved = _read_meta(folder)
            _miou(folder, known)
            if saved is not None:  # else what is there is found out when it is restored
                _read(folder, saved)
        except Damaged as error:
            said.append(str(error))
            continue
        for line in said:
            log.warning("%s; going on from step %d instead", line, step)
        return folder
    raise Damaged(f"{said[0]}; no other checkpoint there is whole, so the training cannot go on")


def set_aside(workdir: str | Path, resumed: Path) -> None:
    """Moves checkpoints that Orbax would stumble over, newer than `resumed` or damaged, to DAMAGED.

    To be called by all processes of a run. What is moved is kept: it may be worth a rescue.
    """
    for step in finished_steps(workdir) if jax.process_index() == 0 else []:
        folder = resumed.parent / str(step)
        try:
            miou = _miou(folder, _read_meta(folder)[1])
        except Damaged:
            miou = None
        if miou is None or step > int(resumed.name):
            aside = files.local(workdir).absolute() / DAMAGED
            aside.mkdir(exist_ok=True)
            count = len(list(aside.glob(f"{step}*")))
            folder.rename(aside / (f"{step}_{count}" if count else str(step)))
            log.warning("moved the damaged checkpoint %s to %s", folder, aside)
        else:  # Orbax ranks by this file, which the sealed metadata can restore
            metrics = folder / "metrics" / "metrics"
            if metrics.is_file() and metrics.read_bytes() != json.dumps({_MIOU: miou}).encode():
                metrics.write_text(json.dumps({_MIOU: miou}))
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("damaged checkpoints set aside")


@contextlib.contextmanager
def _as_damage(folder: Path, what: str = "state") -> Iterator[None]:
    """Turns whatever reading damaged bytes raises into one line that names the folder."""
    try:
        yield
    except MemoryError:
        raise
    # Orbax, tensorstore, JSON and numpy each raise what they like at bytes that make no sense.
    except Exception as error:
        _hush_tensorstore()
        first = next(iter(str(error).splitlines()), "")[:200]
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise Damaged(f"the checkpoint {folder} is damaged: {what}: {kind}{first}") from error


@functools.cache
def _hush_tensorstore() -> None:
    """Reads of other arrays may end after the one that failed: that is no news, and no traceback."""
    shown = sys.unraisablehook

    def hook(told) -> None:
        if str(told.exc_value) != "Event loop is closed":
            shown(told)

    sys.unraisablehook = hook


def _read_meta(folder: Path) -> tuple[ConfigDict, dict, dict[str, list] | None]:
    """Config, metadata and digests, None for a checkpoint from before there were any."""
    with _as_damage(folder, "meta/metadata"):
        meta, saved = digests.unseal(json.loads((folder / "meta" / "metadata").read_text()))
        return ConfigDict(meta["config"]), meta, saved


def load_meta(folder: Path) -> tuple[ConfigDict, dict]:
    """A checkpoint's config and the rest of its meta data.

    Raises:
      Damaged: it is not what was saved.
    """
    config, meta, _ = _read_meta(folder)
    return config, {name: value for name, value in meta.items() if name != _MIOU}


def saved_digests(folder: Path) -> dict[str, list]:
    """What `digests.describe` said of a checkpoint's arrays; empty for one without digests."""
    return _read_meta(folder)[2] or {}


def load_variables(folder: Path) -> dict[str, Any]:
    """A checkpoint's parameters and other collections as numpy, without the optimizer state.

    Works on any device count, whatever the run was saved on.

    Raises:
      Damaged: they are not what was saved.
    """
    restored = _read(folder, _read_meta(folder)[2], ("params", "extra"))
    return {"params": restored["params"], **restored["extra"]}


def _read(folder: Path, saved: dict[str, list] | None, within: tuple[str, ...] = ()) -> dict:
    """The arrays of a checkpoint as they were saved.

    Args:
      saved: their digests, if there are any.
      within: parts of the state, none for all.
    """
    with _as_damage(folder), ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder / "state").item_metadata.tree
        wanted = {name: tree[name] for name in within or tree}
        if saved is not None:  # before anything is allocated
            digests.same_kinds(wanted, saved, within)
        item = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), wanted)
        restored = reader.restore(
            folder / "state",
            args=ocp.args.PyTreeRestore(
                item=item,
                restore_args=ocp.checkpoint_utils.construct_restore_args(item),
                partial_restore=True,
            ),
        )
        if saved is not None:
            digests.same_bytes(restored, saved)
    return restored
