"""Any experiment at toy size: the same trainings and scores, on a few glyphs, in two steps each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from data_builders.prepare import prepare as prepare_dataset
from fss_jax import configs, methods
from fss_jax.experiments.runner import Experiment, Part, Scoring, Training
from fss_jax.methods import backbones

CLASSES = 12
DATASET = f"fss_glyphs/tiny-classes-{CLASSES}"
SIDE = 64  # pixels; encoders halve it up to five times
SETTINGS = {
    "dataset": DATASET,
    "canvas": SIDE,
    "support_size": SIDE,
    "query_size": SIDE,
    "train_split": "train",
    "val_split": "val",
    "min_lattice_hits": 0,
    "init": "",
    "init_skip": "",
    "batch": 2,
    "accumulate": 1,
    "steps": 2,
    "steps_per_dispatch": 1,
    "eval_every": 2,
    "log_every": 1,
    "val_protocol": "uniform",
    "val_episodes": 4,
    "eval_batch": 4,
}


def prepare(data_dir: str) -> None:
    """Makes the few glyph classes, unless they are there; and lets XLA compile fast, not well."""
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    prepare_dataset("fss_glyphs", "tiny", data_dir, options={"classes": CLASSES})


def shrink(experiment: Experiment) -> Experiment:
    """The experiment with `SETTINGS`, tiny models, and four episodes a score.

    What differed only in its dataset (a fold) would now be done again: it is done once.
    """
    trainings: dict[str, Training] = {}
    same: dict[str, str] = {}  # name -> the training that stands for it
    for part in map(shrink_training, experiment.trainings):
        part = dataclasses.replace(part, start=same.get(part.start, part.start))
        key = repr((type(part), dataclasses.replace(part, name="")))
        same[part.name] = trainings.setdefault(key, part).name
    scorings: dict[str, Scoring] = {}
    for scoring in map(shrink_scoring, experiment.scorings):
        scoring = dataclasses.replace(scoring, training=same.get(scoring.training, ""))
        scorings.setdefault(repr(dataclasses.replace(scoring, column="", published=None)), scoring)
    return dataclasses.replace(
        experiment,
        title=f"{experiment.title} (toy run: these numbers mean nothing)",
        trainings=tuple(trainings.values()),
        scorings=tuple(scorings.values()),
        parts=tuple(_renamed(part.shrink(), same) for part in experiment.parts),
    )


def _renamed(part: Part, same: Mapping[str, str]) -> Part:
    """A part whose trainings go by the names of those that stand for them."""
    changed: dict[str, Any] = {}
    if hasattr(part, "scorings"):
        changed["scorings"] = tuple(
            dataclasses.replace(one, training=same.get(one.training, one.training))
            for one in part.scorings
        )
    if hasattr(part, "training"):
        changed["training"] = same.get(part.training, part.training)
    return dataclasses.replace(part, **changed) if changed else part


def changes(config: str, wanted: Mapping[str, Any], start: bool = False) -> dict[str, Any]:
    """The changes that make METHOD/NAME of fss_jax/configs tiny, on top of those wanted.

    Args:
      start: its weights are another training's.
    """
    full = configs.get(config)
    made = {**wanted, **SETTINGS}
    if start:
        made = {k: v for k, v in made.items() if k not in ("init", "init_skip")}
    method = wanted.get("method", full.method)
    made |= {
        f"model.{key}": v for key, v in methods.toy_fields(method, full.model.to_dict()).items()
    }
    if not methods.get(method).few_shot:
        made["val_split"] = "train"  # validation classes are others
    backbone = full.model.get("backbone", "")
    if backbone and backbones.get(backbone).compiles_slowly:
        made["loss"] = "mean"  # one loss, so that the compilation is found in the cache later
    return made


def shrink_training(training: Training) -> Training:
    """See `shrink`."""
    tiny = changes(training.config, training.changes, bool(training.start))
    return dataclasses.replace(training, changes=tiny)


def shrink_scoring(scoring: Scoring) -> Scoring:
    """See `shrink`."""
    settings = {
        **scoring.settings,
        "dataset": DATASET,
        "split": "test",
        "canvas": None,
        "episodes": 4,
        "trivial": False,
    }
    # OSLSM's lists drop small objects, and 64 pixels hold no large ones.
    if settings.get("protocol", "").startswith("oslsm"):
        settings["protocol"] = "uniform"
    tiny = {}
    if scoring.config:
        tiny = changes(scoring.config, scoring.changes, bool(scoring.training))
    return dataclasses.replace(scoring, settings=settings, changes=tiny)
