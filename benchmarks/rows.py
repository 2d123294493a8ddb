"""A row of a table: what is measured, in one shape for every benchmark of a method."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from benchmarks import cases


@dataclasses.dataclass(frozen=True)
class Row:
    """What one line measures; the line in the file is these fields and what was found.

    Attributes:
      case: METHOD/NAME of fss_jax/configs; of other things than methods their own name.
      mode: what is done with it: a key of works.MODES or of accelerator.modes.MODES.
      shots: supports an episode; 0: the config's.
      batch: episodes of each device, or images where the support is cached.
      dtype: compute type.
      precision: of float32 products, a name of runtime.precision.
      width: channel multiplier.
      size: sides of all images in pixels; 0: as published. See cases.get_config.
      remat: config.remat.
      devices: that share the work.
      images: in all, of the modes that go through a folder or a dataset.
      switch: what is done otherwise than usual; a key of works.SWITCHES, or XLA's flags.
      changes: of the config, ('model.backbone', 'vgg16') for a field of the model.
    """

    case: str
    mode: str
    shots: int = 0
    batch: int = 1
    dtype: str = "float32"
    precision: str = "float32"
    width: float = 1.0
    size: int = 0
    remat: bool = False
    devices: int = 1
    images: int = 0
    switch: str = ""
    changes: tuple[tuple[str, Any], ...] = ()

    def config(self) -> ConfigDict:
        """The case's config. Raises ValueError for an unknown one."""
        config = cases.get_config(
            self.case,
            shots=self.shots,
            dtype=self.dtype,
            width=self.width,
            size=self.size,
            remat=self.remat,
            changes=dict(self.changes),
        )
        config.matmul_precision = self.precision
        return config

    @property
    def rate(self) -> str:
        """Which of the device's matrix rates the row is compared with."""
        return self.dtype if self.dtype != "float32" else self.precision

    def facts(self) -> dict:
        """JSON-able."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        parts = [self.case, self.mode]
        parts += [f"{self.shots}-shot"] if self.shots else []
        parts += [f"batch {self.batch}", self.rate]
        parts += [f"{self.images} images"] if self.images else []
        parts += [f"{self.devices} devices"] if self.devices > 1 else []
        parts += [f"{key}={value}" for key, value in self.changes]
        return ", ".join([*parts, self.switch] if self.switch else parts)


def from_facts(facts: Mapping[str, Any]) -> Row:
    """The row that a line of a file says it measured."""
    names = {field.name for field in dataclasses.fields(Row)}
    given = {name: value for name, value in facts.items() if name in names}
    changes = tuple((name, _frozen(value)) for name, value in given.pop("changes", ()))
    return Row(**given, changes=changes)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
