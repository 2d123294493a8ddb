"""The curve of a training: loss and IoU against steps."""

import json
from pathlib import Path

from fss_jax.reports.figures import plt
from fss_jax.runtime.files import atomic


def training_curve(workdir: Path) -> Path:
    """Draws WORKDIR/training_curve.png (loss and IoU against episodes) from its metrics.jsonl."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if "loss" in line]
    val = [line for line in lines if "val_miou" in line]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    steps = [line["step"] for line in train]
    left.plot(steps, [line["loss"] for line in train], color="#33508f")
    left.set(xlabel="step", ylabel="training loss", yscale="log")
    right.plot(steps, [line["train_iou"] for line in train], color="#33508f", label="training IoU")
    right.plot(
        [line["step"] for line in val],
        [line["val_miou"] for line in val],
        color="#dc267f",
        marker="o",
        label="validation mIoU",
    )
    right.set(xlabel="step", ylim=(0, 1))
    right.legend(frameon=False)
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    path = workdir / "training_curve.png"
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
    return path
