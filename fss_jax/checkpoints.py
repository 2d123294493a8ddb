"""Checkpoints of a workdir (Orbax): the latest and the best are kept, written in the background."""

import json
from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

_policies = ocp.checkpoint_managers


@flax.struct.dataclass
class TrainState:
    """What a step changes.

    Attributes:
      step: int32, steps done = position in the stream of records.
      params: trained.
      extra: the other variable collections: batch statistics, hash tables.
      opt_state: of the optimizer.
    """

    step: jax.Array
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
          meta: JSON-able: config, record-list hash, preprocessing.
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


def checkpoint_folder(workdir: str | Path, which: str = "best") -> Path:
    """The folder of a finished checkpoint: 'best' (by validation mIoU), 'latest', or a step number.

    Raises:
      FileNotFoundError: the workdir holds none, or not that step.
    """
    folder = Path(workdir).absolute() / "checkpoints"
    steps = sorted(
        int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir()
    )
    if not steps:
        raise FileNotFoundError(
            f"no checkpoint in {folder}; train first: python train.py --workdir"
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


def load_into(variables: dict[str, Any], workdir: str | Path) -> dict[str, Any]:
    """Another workdir's best parameters (and batch statistics) in place of fresh ones.

    Raises:
      ValueError: naming every leaf that is missing, unexpected or of another shape.
    """
    folder = checkpoint_folder(workdir)
    loaded = load_variables(folder)
    have, want = (
        {"/".join(key): np.shape(leaf) for key, leaf in flatten_dict(tree).items()}
        for tree in (loaded, variables)
    )
    wrong = [f"missing {name}" for name in sorted(want.keys() - have.keys())]
    wrong += [f"unexpected {name}" for name in sorted(have.keys() - want.keys())]
    wrong += [
        f"{name} is {have[name]}, expected {want[name]}"
        for name in sorted(have.keys() & want.keys())
        if have[name] != want[name]
    ]
    if wrong:
        raise ValueError(f"{folder} holds another model than this config's: {'; '.join(wrong)}")
    return loaded
