"""What FSS-1000's paper shows beside the mean: good images, super-categories, bar charts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fss_jax.reports import figures
from fss_jax.reports.page import Table, interval, percent
from fss_jax.runtime import files
from fss_jax.scoring import metrics

LEVELS = (0.70, 0.80, 0.90, 0.95)  # FSS-1000 Table 6


def image_shares(counts: np.ndarray) -> dict[str, float]:
    """The share (0..1) of images with at least each of LEVELS of IoU, by level in percent.

    Args:
      counts: integers [N, 4] per query image.
    """
    ious = metrics.iou(counts)
    return {f"{100 * level:.0f}": float((ious >= level).mean()) for level in LEVELS}


def by_super_category(
    counts: np.ndarray,
    class_id: np.ndarray,
    image: np.ndarray,
    metric: str,
    super_categories: Mapping[int, tuple[str, ...]],
) -> dict[str, dict]:
    """Mean IoU over the classes of each super-category (FSS-1000, Figures 6 and 8).

    A class counts in each super-category that it has.

    Args:
      counts, class_id, image, metric: as for `metrics.score`.
      super_categories: names by class id; classes that it lacks are left out.
    """
    members: dict[str, list[int]] = {}
    for c in np.unique(class_id).tolist():
        for name in super_categories.get(c, ()):
            members.setdefault(name, []).append(c)
    table = {}
    for name in sorted(members):
        rows = np.isin(class_id, members[name])
        scores = metrics.score(counts[rows], class_id[rows], image[rows], metric)
        table[name] = {
            "miou": scores.miou,
            "ci95": list(scores.miou_ci95),
            "classes": len(scores.class_ids),
        }
    return table


def bar_chart(path: Path, table: Mapping[str, Mapping], title: str) -> None:
    """Draws `by_super_category`'s table as horizontal bars with 95% intervals, best on top."""
    names = sorted(table, key=lambda name: table[name]["miou"])
    values = 100 * np.asarray([table[name]["miou"] for name in names])
    bounds = 100 * np.asarray([table[name]["ci95"] for name in names])
    errors = np.maximum(np.abs(bounds - values[:, None]).T, 0)
    plt = figures.plt
    figure, axis = plt.subplots(figsize=(6.4, 1.2 + 0.36 * len(names)), layout="constrained")
    labels = [f"{name} ({table[name]['classes']})" for name in names]
    axis.barh(labels, values, xerr=errors, color="#33508f", ecolor="#dc267f", height=0.7)
    axis.set(xlim=(0, 100), xlabel="mIoU in %, 95% interval (number of classes)", title=title)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


def tables(result: Mapping) -> list[Table]:
    """What shows `shares` and `super_categories` of a result, where it has them."""
    found = []
    if result.get("shares"):
        levels = result["shares"]
        head = ("images with an IoU of at least", *(f"{level} %" for level in levels))
        found.append(Table(head, [("share %", *map(percent, levels.values()))]))
    if result.get("super_categories"):
        rows = [
            (name, row["classes"], percent(row["miou"]), interval(row["ci95"]))
            for name, row in result["super_categories"].items()
        ]
        found.append(Table(("super-category", "classes", "mIoU %", "95% interval"), rows))
    return found
