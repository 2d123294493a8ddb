"""What a config may say, checked before anything is read or written."""

import logging
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from fss_jax import methods
from fss_jax.data import datasets, imaging
from fss_jax.data.bank import VOIDS
from fss_jax.data.datasets import Split
from fss_jax.data.records import Records, TooFewImages
from fss_jax.runtime import precision
from fss_jax.scoring import protocols
from fss_jax.training.losses import LOSSES

AT_LEAST_1 = (
    "canvas", "shots", "queries", "support_size", "steps", "batch", "accumulate", "halve_every",
    "steps_per_dispatch", "val_episodes", "eval_every", "log_every", "eval_batch",
)  # fmt: skip
KNOWN = {
    "void": VOIDS,
    "dtype": ("float32", "bfloat16"),
    "gradient_dtype": ("float32", "bfloat16"),
    "moments": ("float32", "bfloat16"),
    "matmul_precision": precision.NAMES,
}


def check(config: ConfigDict) -> None:
    """Raises ValueError for settings that are out of range, unknown, or do not go together."""
    for name in AT_LEAST_1:
        if config[name] < 1:
            raise ValueError(f"config.{name} is {config[name]}; expected at least 1")
    method = methods.get(config.method)
    for name, known in {**KNOWN, "loss": (*LOSSES, *method.own_losses)}.items():
        if config[name] not in known:
            raise ValueError(
                f"unknown config.{name} {config[name]!r}; expected one of {', '.join(known)}"
            )
    if not method.trained:
        weights = ""
        if method.stands_on:
            weights = f", with --init workdir:W of a trained {method.stands_on} W"
        raise ValueError(
            f"config.method {config.method!r} has nothing to train; run fss evaluate --config{weights}"
        )
    imaging.preprocessing(config.model.get("preprocessing", ""))
    protocols.get(config.protocol)
    for name in ("steps", "eval_every", "log_every"):
        if config[name] % config.steps_per_dispatch:
            raise ValueError(
                f"config.{name} is {config[name]}, not a multiple of config.steps_per_dispatch "
                f"({config.steps_per_dispatch}); change one of them"
            )


def usable(split: Split, config: ConfigDict, queries: int) -> Split:
    """The split, without the classes that no episode can be drawn of if the config says so."""
    return split.without_rare(config.shots + queries) if config.drop_rare_classes else split


class Drawn(NamedTuple):
    """A list of episodes and the split, as its protocol filters it, that they are of."""

    split: Split
    records: Records


def draw(config: ConfigDict, protocol: protocols.Protocol, split: str) -> Drawn:
    """A protocol's list over a split of the config's dataset.

    Raises:
      TooFewImages, ValueError: it has no such split, or not enough images.
    """
    data = datasets.open_split(config.dataset, split, config.data_dir)
    data = usable(protocol.filter(data), config, protocol.queries)
    return Drawn(data, protocol.records(data, config.shots))


def check_lists(config: ConfigDict) -> dict[str, Drawn]:
    """Draws every list that a training will be scored by, before it starts.

    Returns:
      The lists of 'validation' and 'test', the latter only where the test split was prepared.

    Raises:
      TooFewImages, ValueError: a list that cannot be drawn.
    """
    lists = {}
    for what, name, split in (
        ("validation", config.val_protocol, config.val_split),
        ("test", config.protocol, config.test_split),
    ):
        if what == "test" and not datasets.has_split(config.dataset, split, config.data_dir):
            continue  # a dataset to train on alone, such as fsPASCAL
        try:
            lists[what] = draw(config, protocols.get(name), split)
        except ValueError as error:  # TooFewImages among them
            if what == "test" and not getattr(error, "counts", None):
                # It may never be scored by this protocol: say so, and train.
                logging.getLogger(__name__).warning("no test list of %s: %s", name, error)
                continue
            raise TooFewImages(
                f"config.dataset {config.dataset!r} cannot be scored by its {what} protocol {name!r}: "
                f"{error}"
            ) from error
    return lists


def check_continues(
    config: ConfigDict, records: str, stored: ConfigDict, stored_records: str, folder: Path
) -> None:
    """Raises ValueError if a config would not go on with the stream of episodes of a checkpoint.

    Args:
      records, stored_records: hashes of the first records, of now and of the checkpoint.
      stored: the checkpoint's config.
    """
    if (config.batch, records) != (stored.batch, stored_records):
        raise ValueError(
            f"{folder} was trained on other episodes: config.batch {stored.batch}, records "
            f"{stored_records[:8]}..., here {config.batch}, {records[:8]}...; restore its dataset, "
            "rule, shots, queries, seed and batch, or use another --workdir"
        )
    if int(folder.name) % config.steps_per_dispatch:
        raise ValueError(
            f"{folder} is no multiple of config.steps_per_dispatch ({config.steps_per_dispatch}); "
            f"resume with {stored.steps_per_dispatch}"
        )
