"""Trains the base network of 1-NN, logistic regression, SVM and fine-tuning (OSLSM 6).

fss train --config fcn/vgg16 --workdir runs/base_fold0

FCN-32s, 16-way on a fold's training classes and background, by the loop of every training. It ends
with pixel accuracy and mIoU on the validation images, in WORKDIR/results/base_network.json and .md.
Its features then are --init workdir:WORKDIR of the methods.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import colormaps
from ml_collections import ConfigDict
from PIL import Image

from fss_jax import methods
from fss_jax.data import bank as banks
from fss_jax.data import datasets
from fss_jax.data.datasets import Split
from fss_jax.data.imaging import VOID
from fss_jax.data.view import fill_color
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import checkpoints, files
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS, first
from fss_jax.scoring.semantic import (
    MOST_CLASSES,
    ClassScores,
    ClassSplit,
    by_class,
    class_scores,
    labelled,
)
from fss_jax.training import loop


def _classes(split: Split) -> tuple[int, ...]:
    return tuple(sorted({class_id for _, class_id in split.items}))


def training_view(split: Split, config: ConfigDict) -> ClassSplit:
    """The training split by its own classes.

    Raises:
      ValueError: it has more classes than the network outputs, or than a label map can name.
    """
    known = _classes(split)
    if len(known) > min(config.model.classes - 1, MOST_CLASSES):
        raise ValueError(
            f"{split.name} has {len(known)} classes, the base network {config.model.classes} outputs "
            f"with the background's; set --config.model.classes={len(known) + 1} "
            f"(at most {MOST_CLASSES + 1}), or take a dataset of fewer classes"
        )
    return by_class(split, known)


def class_loss(model: nn.Module, config: ConfigDict) -> tuple[Callable, Callable]:
    """`training.episode_loss` for a classifier: every image of the records counts, query or support.

    Softmax cross-entropy, mean over the pixels that are not void. The counts take an object pixel as
    found only if its class is right.
    """
    fill = fill_color(config)

    def gather(bank, support, query, key=None):
        del key  # images are shown as they are
        items = jnp.concatenate([support, query], 1).ravel()
        return labelled(bank, bank.item_image[items], config.query_size, fill)

    def loss_fn(params, extra, batch, key):
        image, label = batch
        logits, updated = model.apply(
            {"params": params, **extra},
            image,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        valid = label != VOID
        target = jnp.where(valid, label, 0)
        weight = valid * jnp.where(target > 0, config.foreground_weight, 1.0)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        total = jax.lax.pmean(weight.sum(), AXIS)
        found = logits.argmax(-1)
        right, there, named = (found == target) & (target > 0), target > 0, found > 0
        cells = (right, named & ~right, there & ~right, ~named & ~there)
        counts = jnp.stack([(cell & valid).sum(dtype=jnp.int32) for cell in cells])
        return (entropy * weight).sum() / jnp.maximum(total, 1.0), (extra | updated, counts)

    return gather, loss_fn


class ClassValidation:
    """The validation images of the training classes, scored now and then at the network's size."""

    def __init__(
        self, model: nn.Module, config: ConfigDict, devices: list[jax.Device], drawn: Any = None
    ):
        del devices, drawn  # one is enough, and every image is scored
        train = datasets.open_split(config.dataset, config.train_split, config.data_dir)
        if config.drop_rare_classes:
            train = train.without_rare(config.shots + config.queries)
        known = _classes(train)
        split = datasets.open_split(config.dataset, config.val_split, config.data_dir)
        items = zip(split.item_image, split.items, strict=True)
        shown = sorted({int(image) for image, (_, class_id) in items if class_id in known})
        if not shown:
            raise ValueError(
                f"{split.name} shows none of the {len(known)} training classes; set config.val_split "
                f"to a split that does, or to {config.train_split!r}"
            )
        self.names = ("background", *(split.class_names[c] for c in known))
        self.batch = config.eval_batch
        self.bank = banks.load_bank(by_class(split, known), config.canvas, shown)
        fill = fill_color(config)

        @jax.jit
        def predict(variables, bank, index):
            image, label = labelled(bank, index, config.query_size, fill)
            logits = model.apply(variables, image)[..., : len(self.names)]
            return image, label, logits.argmax(-1).astype(jnp.int32)

        self._predict = predict

    def scores(self, variables: Any) -> ClassScores:
        count, classes = len(self.bank.sizes), len(self.names)
        bank = jax.device_put(self.bank)
        parts = []
        for start in range(0, count, self.batch):  # the last is padded, and its surplus dropped
            index = np.minimum(np.arange(start, start + self.batch), count - 1)
            _, label, found = map(np.asarray, self._predict(variables, bank, index))
            for truth, answer in list(zip(label, found, strict=True))[: count - start]:
                valid = truth != VOID
                pair = truth[valid] * classes + answer[valid]
                parts.append(np.bincount(pair, minlength=classes**2).reshape(classes, classes))
        return class_scores(np.stack(parts))

    def score(self, state: TrainState) -> ClassScores:
        """The scores of a replicated state."""
        return self.scores(first(state.variables))

    def picture(self, state: TrainState, path: Path, count: int = 8) -> None:
        """Draws a few images with their classes, true above predicted."""
        index = np.linspace(0, len(self.bank.sizes) - 1, count).astype(np.int32)
        image, label, found = map(
            np.asarray, self._predict(first(state.variables), self.bank, index)
        )
        palette = np.asarray(colormaps["tab20"].colors) * 255

        def tint(pixels, classes):
            color = palette[(classes - 1) % len(palette)]
            shown = ((classes > 0) & (classes != VOID))[..., None]
            return np.where(shown, 0.4 * pixels + 0.6 * color, pixels).astype(np.uint8)

        rows = [np.concatenate(list(row), 1) for row in (tint(image, label), tint(image, found))]
        with files.atomic(path) as temporary:
            Image.fromarray(np.concatenate(rows)).save(temporary, "PNG")


def build(config: ConfigDict) -> nn.Module:
    """The network of a config.

    Raises:
      ValueError: a config of a few-shot method.
    """
    if methods.get(config.method).few_shot:
        raise ValueError(
            f"config.method {config.method!r} is a few-shot method, not the base network of others; "
            "train.py trains it"
        )
    return methods.build_from(config)


def init_variables(model: nn.Module, config: ConfigDict) -> dict[str, Any]:
    side = config.query_size
    if not side:
        raise ValueError("config.query_size is 0; the base network needs a size to warp images to")
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    return jax.jit(model.init)(key, jnp.zeros((1, side, side, 3)))


LEARNER = loop.Learner(build, init_variables, training_view, class_loss, ClassValidation)


def learner_of(config: ConfigDict) -> loop.Learner:
    """What a config trains: a few-shot method on episodes, a network for others on classes."""
    return loop.Learner() if methods.get(config.method).few_shot else LEARNER


def train(config: ConfigDict, workdir: str | Path, device_count: int = 0) -> dict:
    """Trains or resumes, then scores the best checkpoint; returns what the result file holds."""
    loop.train(config, workdir, device_count, LEARNER)
    found = checkpoints.load(workdir)
    stored = found.config
    stored.data_dir = config.data_dir
    validation = ClassValidation(build(stored), stored, [])
    scores = validation.scores(found.variables)
    result = {
        "method": stored.method,
        "dataset": stored.dataset,
        "split": stored.val_split,
        "images": len(validation.bank.sizes),
        "checkpoint_step": found.step,
        "init": stored.init,
        "pixel_accuracy": scores.pixel_accuracy,
        "miou": scores.miou,
        "miou_ci95": list(scores.miou_ci95),
        "class_iou": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(validation.names, scores.class_iou, strict=True)
        },
        **provenance(),
    }
    pages.write(Path(workdir, "results", "base_network"), result, page(result))
    return result


def page(result: dict) -> Page:
    """The result, to read."""
    rows = [
        (name, "not there" if value is None else percent(value))
        for name, value in result["class_iou"].items()
    ]
    return Page(
        f"Base network, {result['dataset']} {result['split']}, training classes",
        [
            f"Pixel accuracy {percent(result['pixel_accuracy'])} %, mIoU {percent(result['miou'])} % "
            f"({interval(result['miou_ci95'])}) over {result['images']} images, background included.",
            Table(("class", "IoU %"), rows),
        ],
    )
