"""Makes labels better from the masks that a person corrected (`fss correct`).

Correct some masks where they lie, in OUT/masks, with any editor (saving one unchanged accepts it).
A round says which masks of the support look wrong, takes the corrected ones into the
support, says what that gained on the images that have a mask, each predicted without its own, labels
all others again, and lists in OUT/refine.csv, and prints, what to correct next. It can be repeated.
"""

import csv
import dataclasses
import io
import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fss_jax.labelling import job, pictures
from fss_jax.labelling.labels import Labels
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.supports import Supports
from fss_jax.runtime import files

SIDE = 512  # pixels that images are ranked at
JURY = 8  # supports that are asked one by one whether they agree
NEXT = 10  # images that are printed


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with a mask that a person made: `given` as support, or corrected later."""

    image: Path
    mask: Path | np.ndarray
    given: bool


def examples(shown: Supports, labels: Labels) -> dict[str, list[Example]]:
    """All supports and corrected masks by class; a corrected mask without the class is none."""
    found = {
        name: [Example(image, mask, True) for image, mask in zip(*both, strict=True)]
        for name, both in shown.items()
    }
    for image in filter(labels.corrected, labels.names):
        for name, mask in labels.masks(image).items():
            if mask.any():
                found[name].append(Example(labels.images / image, mask, False))
    return found


def as_support(found: dict[str, list[Example]]) -> dict[str, tuple[list, list]]:
    return {name: ([e.image for e in some], [e.mask for e in some]) for name, some in found.items()}


def left_out_iou(
    segmenter: Segmenter, some: Sequence[Example], *, given_only: bool
) -> list[float | None]:
    """The IoU of each example of a class as predicted from the others; None if there are none.

    Args:
      segmenter: its support is replaced.
      given_only: predict from the others that were given as support, without corrections.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(some)):
        others = [j for j, e in enumerate(some) if j != i and (e.given or not given_only)]
        groups.setdefault(tuple(others), []).append(i)
    result: list[float | None] = [None] * len(some)
    for others, members in groups.items():
        if others:
            segmenter.set_support(*as_support({"": [some[j] for j in others]})[""])
            for i in members:
                found = segmenter.predict(some[i].image)[0].mask
                mask = some[i].mask
                truth = mask if isinstance(mask, np.ndarray) else pictures.read_mask(mask)
                result[i] = iou(found, truth)
    return result


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two masks, bool [H, W]; 1 if both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def suspects(scores: Sequence[float | None]) -> list[int]:
    """The examples that the others explain less than half as well as they do each other."""
    known = [score for score in scores if score is not None]
    if len(known) < 3:  # of two that disagree, either may be wrong
        return []
    middle = statistics.median(known)
    return [i for i, score in enumerate(scores) if score is not None and score < middle / 2]


def uncertainty(
    segmenter: Segmenter, found: dict[str, list[Example]], images: Sequence[Path]
) -> list[tuple[float, float]]:
    """How unsure a prediction is: (entropy, disagreement) of each image, the most of its classes.

    Entropy is the mean over pixels, in bits. Disagreement is 1 minus the mean IoU among the masks
    that single supports, JURY of them at most, would give; 0 with one support. The segmenter's
    support is replaced.
    """
    jury = {}
    for name, some in found.items():
        picks = np.unique(np.linspace(0, len(some) - 1, min(JURY, len(some))).astype(int))
        jury[name] = {f"{name}/{i}": [some[i]] for i in picks}
    alone = {key: member for members in jury.values() for key, member in members.items()}
    segmenter.set_support(as_support(found | alone))

    def small() -> Iterator[np.ndarray]:
        for path in images:
            picture = Image.fromarray(pictures.read_image(path))
            picture.thumbnail((SIDE, SIDE))
            yield np.asarray(picture)

    result = []
    for prediction in segmenter.stream(small()):
        entropy, disagreement = [], []
        for name, members in jury.items():
            p = np.clip(prediction.probabilities[name], 1e-7, 1 - 1e-7)
            entropy.append(float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean()))
            votes = [prediction.masks[key] for key in members]
            agree = [iou(one, other) for one, other in itertools.combinations(votes, 2)]
            disagreement.append(1 - statistics.fmean(agree) if agree else 0.0)
        result.append((max(entropy), max(disagreement)))
    return result


def rank(values: Sequence[tuple[float, float]]) -> list[int]:
    """Indices, most uncertain first, by the mean of an image's places in the two orders."""
    places = np.zeros(len(values))
    for column in range(2):
        places += np.argsort(np.argsort([-value[column] for value in values], kind="stable"))
    return [int(i) for i in np.argsort(places, kind="stable")]


def refine(
    segmenter: Segmenter, labels: Labels, shown: Supports, *, progress: bool = True
) -> list[str]:
    """One round, as the module's text says.

    Returns:
      What there is to tell, line by line.

    Raises:
      ValueError: nothing was labelled there yet; a corrected mask that cannot be used.
    """
    manifest = labels.manifest
    if manifest.settings is None:
        raise ValueError(f"{labels.out} holds no labels yet: run `fss label` first")
    found = examples(shown, labels)
    lines = []
    for name, some in found.items():
        lines += _report(segmenter, name, some)

    segmenter.set_support(as_support(found))
    table = labels.out / "refine.csv"
    manifest.require_ours([table])
    again = job.relabel(segmenter, labels, progress=progress)
    if again:
        lines.append(f"{again} images labelled again")

    open_names = [
        name
        for name, entry in labels.ranked()
        if "error" not in entry and not labels.corrected(name)
    ]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if segmenter.judges:  # and every image was judged when it was labelled
        order = list(range(len(open_names)))
        rows.writerow(["image", "expected_iou"])
        rows.writerows([name, f"{labels.least_expected(name):.4f}"] for name in open_names)
    else:
        values = uncertainty(segmenter, found, [labels.images / name for name in open_names])
        order = rank(values)
        rows.writerow(["image", "entropy", "disagreement"])
        rows.writerows([open_names[i], *(f"{value:.4f}" for value in values[i])] for i in order)
    with manifest.writing():
        manifest.begin([table])
        files.write_text(table, text.getvalue())
        manifest.finish([table])
    if order:
        lines.append("correct next: " + ", ".join(open_names[i] for i in order[:NEXT]))
    return lines


def _report(segmenter: Segmenter, name: str, some: Sequence[Example]) -> list[str]:
    """What the masks of a class say of each other, and what the corrected ones gained."""
    after = left_out_iou(segmenter, some, given_only=False)
    corrected = sum(not example.given for example in some)
    line = f"{name}: {len(some) - corrected} supports, {corrected} corrected masks"
    if corrected:
        before = left_out_iou(segmenter, some, given_only=True)
        both = [(b, a) for b, a in zip(before, after, strict=True) if b is not None]
        means = [statistics.fmean(column) for column in zip(*both, strict=True)]
        line += (
            f"; mean IoU {means[0]:.3f} from the supports, {means[1]:.3f} with the corrected masks"
            f" ({len(both)} images, each predicted without its own mask)"
        )
    elif len(some) > 1:
        mean = statistics.fmean(score for score in after if score is not None)
        line += f"; mean IoU {mean:.3f}, each predicted from the others"
    lines = [line]
    for i in suspects(after):
        lines.append(
            f"  look at the mask of {some[i].image}: the others give it IoU {after[i]:.3f}"
        )
    return lines
