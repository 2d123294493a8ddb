"""Segmentation into known classes: label maps that name classes, and what such an answer scores."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax.data import imaging
from fss_jax.data.bank import Bank
from fss_jax.data.datasets import Split
from fss_jax.data.imaging import VOID
from fss_jax.scoring.metrics import BOOTSTRAP_DRAWS

MOST_CLASSES = 254  # what a uint8 label map can name beside background and void


@dataclasses.dataclass(frozen=True)
class ClassSplit(Split):
    """A split whose label maps hold positions in `known` + 1 instead of the dataset's own values.

    Pixels of a class that is not known, as those of a class left out for having too few images, are
    void.
    """

    known: tuple[int, ...] = ()

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rgb, label = super().read(index)
        meaning = np.full(256, VOID, np.uint8)
        meaning[0] = 0
        for i in np.flatnonzero(self.item_image == index):
            class_id = self.items[i][1]
            if class_id in self.known:
                meaning[self.item_value[i]] = 1 + self.known.index(class_id)
        return rgb, meaning[label]


def by_class(split: Split, known: tuple[int, ...]) -> ClassSplit:
    fields = {f.name: getattr(split, f.name) for f in dataclasses.fields(Split)}
    return ClassSplit(**fields, known=known)


def labelled(
    bank: Bank, image: Int[Array, "n"], size: int, fill: tuple[float, float, float]
) -> tuple[Float[Array, "n size size 3"], Int[Array, "n size size"]]:
    """The images of a bank, and their label maps, warped to squares."""

    def one(index):
        true_size = bank.sizes[index]
        pixels = imaging.warp(bank.images[index], true_size, size, fill)
        return pixels, imaging.warp_label(bank.labels[index], true_size, size).astype(jnp.int32)

    return jax.vmap(one)(image)


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Scores of a classifier of pixels, from one confusion matrix an image.

    Attributes:
      pixel_accuracy: share of the pixels that are not void.
      miou, miou_ci95: mean over the classes that occur, background included as in FCN; bootstrap
        over images.
      class_iou: [classes], nan for one that does not occur.
    """

    pixel_accuracy: float
    miou: float
    miou_ci95: tuple[float, float]
    class_iou: np.ndarray


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Scores from counts [images, true class, predicted class]."""

    def iou(total):
        both = np.diagonal(total, axis1=-2, axis2=-1)
        union = total.sum(-1) + total.sum(-2) - both
        known = total.sum(-1) > 0
        return np.where(known, both / np.maximum(union, 1), np.nan)

    total = confusion.sum(0)
    classes = iou(total)
    n = len(confusion)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), BOOTSTRAP_DRAWS)
    sums = (draws @ confusion.reshape(n, -1)).reshape(-1, *total.shape)
    means = np.nanmean(iou(sums), -1)
    miou = float(np.nanmean(classes))
    low, high = np.percentile(means - means.mean() + miou, [2.5, 97.5])
    accuracy = float(np.trace(total) / max(total.sum(), 1))
    return ClassScores(accuracy, miou, (float(low), float(high)), classes)
