"""Checkpoints of a workdir (Orbax): the latest and the best are kept, written in the background."""

import json
from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

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
        self.folder = Path(workdir).absolute() / "checkpoints"

        def miou(metrics):
            return metrics["miou"]

        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=miou,
                best_mode="max",
                preservation_policy=_policies.AnyPreservationPolicy(
                    [_policies.LatestN(1), _policies.BestN(get_metric_fn=miou, n=1)]
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
          ValueError: the stored tree is not `target`'s: another model or optimizer.
        """
        step = self.latest_step
        abstract = jax.tree.map(np.asarray, target)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)),
            )
            _same_shapes(restored.state, abstract)
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} does not fit this config's model "
                "and optimizer; use the config it was trained with or another --workdir "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        metrics = self._manager.metrics(step) or {"miou": -1.0}
        return restored.state, metrics["miou"]

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
    folders = (Path(workdir).absolute() / "checkpoints").glob("*")
    return sorted(int(path.name) for path in folders if path.name.isdigit() and path.is_dir())


def checkpoint_folder(workdir: str | Path, which: str = "best") -> Path:
    """The folder of a finished checkpoint: 'best' (by validation mIoU), 'latest', or a step number.

    Raises:
      FileNotFoundError: the workdir holds none, or not that step.
    """
    folder = Path(workdir).absolute() / "checkpoints"
    steps = finished_steps(workdir)
    if not steps:
        raise FileNotFoundError(
            f"no checkpoint in {folder}; train first: python train.py --workdir {workdir} --config ..."
        )
    if which == "latest":
        return folder / str(steps[-1])
    if which == "best":
        return folder / str(max(steps, key=lambda step: (_miou(folder / str(step)), step)))
    if which.isdigit() and int(which) in steps:
        return folder / which
    raise FileNotFoundError(
        f"no checkpoint {which!r} in {folder}; it holds steps {', '.join(map(str, steps))}"
    )


def _miou(folder: Path) -> float:
    metrics = folder / "metrics" / "metrics"
    return json.loads(metrics.read_text())["miou"] if metrics.is_file() else -1.0


def load_meta(folder: Path) -> tuple[ConfigDict, dict]:
    """A checkpoint's config and the rest of its meta data."""
    meta = json.loads((folder / "meta" / "metadata").read_text())
    return ConfigDict(meta["config"]), meta


def load_variables(folder: Path) -> dict[str, Any]:
    """A checkpoint's parameters and other collections as numpy, without the optimizer state.

    Works on any device count, whatever the run was saved on.
    """
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder / "state").item_metadata.tree
        wanted = {name: tree[name] for name in ("params", "extra")}
        item = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), wanted)
        restored = reader.restore(
            folder / "state",
            args=ocp.args.PyTreeRestore(
                item=item,
                restore_args=ocp.checkpoint_utils.construct_restore_args(item),
                partial_restore=True,
            ),
        )
    return {"params": restored["params"], **restored["extra"]}
