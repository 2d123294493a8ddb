"""What every command that uses a trained workdir opens first: checkpoint, model, protocol, data."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from fss_jax import methods, weights
from fss_jax.data import datasets
from fss_jax.data.datasets import Split
from fss_jax.data.view import View
from fss_jax.runtime import checkpoints
from fss_jax.scoring import protocols
from fss_jax.scoring.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Opened:
    """A checkpoint of a workdir, ready to be applied to a split under a protocol.

    Attributes:
      step: of the checkpoint.
      dataset, split: their names.
      data: the split, filtered as the protocol says.
      elsewhere: the dataset's name if it is not the one the config trained on, for file names.
      annotation: what the method sees of the supports' masks, a kind of `weak.KINDS`.
    """

    workdir: Path
    step: int
    config: ConfigDict
    protocol: Protocol
    dataset: str
    split: str
    data: Split
    model: nn.Module
    variables: Mapping[str, Any]
    annotation: str = "mask"

    @property
    def view(self) -> View:
        return self.protocol.view(self.config, self.annotation)

    @property
    def elsewhere(self) -> str:
        same = self.dataset == self.config.dataset and self.split == self.config.test_split
        return "" if same else f"{self.dataset}_{self.split}".replace("/", "_") + "_"

    def result(self, name: str) -> Path:
        """WORKDIR/results/NAME without an ending; another dataset than the config's is named, too."""
        return self.workdir / "results" / f"{self.elsewhere}{name}"

    def with_images(self, needed: int) -> "Opened":
        """The same, if its config drops rare classes without those of fewer than `needed` items."""
        if not self.config.drop_rare_classes:
            return self
        return dataclasses.replace(self, data=self.data.without_rare(needed))

    def facts(self) -> dict:
        """What every result file says of the method and the data."""
        return {
            "method": self.config.method,
            "dataset": self.dataset,
            "split": self.split,
            "protocol": self.protocol.name,
            "annotation": self.annotation,
            "checkpoint_step": self.step,
            "init": self.config.init,
            **({"origin": json.loads(origin)} if (origin := self.config.get("origin", "")) else {}),
        }


def open_workdir(
    workdir: str | Path,
    *,
    protocol: str | None = None,
    split: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    items_file: str | Path | None = None,
    checkpoint: str = "best",
    canvas: int | None = None,
    config: ConfigDict | None = None,
    annotation: str = "mask",
    drop_rare_classes: bool = False,
) -> Opened:
    """Opens a workdir; arguments left out are its config's (`fss evaluate --help` explains them).

    With `config`, that config's `init` weights are scored as step 0 (a method without weights needs
    none), and the workdir only takes the results.

    Raises:
      ValueError, FileNotFoundError: a checkpoint, dataset, protocol or list that is not there, or
        weights that do not fit.
    """
    if config:
        config = config.copy_and_resolve_references()  # it is changed below
        (_, variables), step = weights.ready(config), 0
    else:
        found = checkpoints.load(workdir, checkpoint)
        config, variables, step = found.config, found.variables, found.step
    methods.check_annotation(config.method, annotation)
    config.canvas = canvas or config.canvas
    config.drop_rare_classes = config.drop_rare_classes or drop_rare_classes
    chosen = protocols.get(protocol or config.protocol)
    dataset, split = dataset or config.dataset, split or config.test_split
    data = datasets.open_split(dataset, split, data_dir or config.data_dir)
    return Opened(
        workdir=Path(workdir),
        step=step,
        config=config,
        protocol=chosen,
        dataset=dataset,
        split=split,
        data=data.with_items(items_file) if items_file else chosen.filter(data),
        model=methods.build_from(config),
        variables=variables,
        annotation=annotation,
    )
