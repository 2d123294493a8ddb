"""What a person looks at: contact sheets, training curves, tables; and files written atomically."""

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fss_jax.data.bank import Episode
from fss_jax.data.datasets import Split
from fss_jax.data.records import Records
from fss_jax.scoring.metrics import confusion, iou

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

TILE = 160  # pixels of a picture in a contact sheet
SUPPORT_COLOR, TRUTH_COLOR, PREDICTION_COLOR = (255, 176, 0), (0, 158, 115), (220, 38, 127)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: dict) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text)


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask, bool [H, W], that touch its outside."""
    inner = mask.copy()
    inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inner


def overlay(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """An image with a mask tinted over it and its outline drawn.

    Args:
      image: RGB [H, W, 3] in 0..255.
      mask: bool [H, W].

    Returns:
      uint8 [H, W, 3].
    """
    alpha = np.where(outline(mask), 1.0, np.where(mask, 0.45, 0.0))[..., None]
    return np.clip(image * (1 - alpha) + np.asarray(color) * alpha, 0, 255).astype(np.uint8)


def _resize(values: np.ndarray, shape: tuple[int, int], method: int) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize(shape[::-1], method))


def spotlight(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """An image darkened outside a mask, with its outline drawn: the object keeps its own colors."""
    lit = np.where(mask[..., None], image, image * 0.35)
    return np.where(outline(mask)[..., None], np.asarray(color), lit).astype(np.uint8)


def _tile(
    image: np.ndarray, mask: np.ndarray | None, color: tuple[int, int, int], draw=overlay
) -> Image.Image:
    """One picture of a sheet: enlarged or shrunk before the outline is drawn, so that it stays thin."""
    rgb = _resize(np.clip(image, 0, 255).astype(np.uint8), (TILE, TILE), Image.Resampling.BILINEAR)
    if mask is not None:
        stretched = _resize(mask.astype(np.uint8), (TILE, TILE), Image.Resampling.NEAREST)
        rgb = draw(rgb, stretched > 0, color)
    return Image.fromarray(rgb)


def contact_sheet(
    path: Path,
    episode: Episode,
    logits: np.ndarray,
    records: Records,
    split: Split,
    titles: Sequence[str] | None = None,
) -> None:
    """A PNG with one row per episode: supports, query, truth, prediction, with the query's IoU.

    Args:
      episode: of N records, as numpy.
      logits: [N, Q, S, T]; the first query of each record is drawn.
      titles: N notes for the rows, beside class and IoU.
    """
    shots = episode.support_image.shape[1]
    shown = min(shots, 5)
    gap, head, line = 6, 24, 20
    width = (shown + 3) * (TILE + gap) + gap
    sheet = Image.new("RGB", (width, head + len(records) * (TILE + line + gap)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    names = [f"support {k + 1}" if shown > 1 else "support" for k in range(shown)]
    if shots > shown:
        names[-1] += f" of {shots}"
    for column, name in enumerate([*names, "query", "truth", "prediction"]):
        pen.text((gap + column * (TILE + gap), 5), name, fill="black", font=font)
    for row in range(len(records)):
        image, mask = episode.query_image[row, 0], episode.query_mask[row, 0] > 0
        prediction = logits[row, 0] > 0
        if mask.shape != image.shape[:2]:  # scored at another size than the network's
            shape = image.shape[:2]
            mask, prediction = (
                _resize(m.astype(np.uint8), shape, Image.Resampling.NEAREST) > 0
                for m in (mask, prediction)
            )
        counts = np.asarray(
            confusion(logits[row, 0] > 0, episode.query_mask[row, 0], episode.query_valid[row, 0])
        )
        tiles = [
            _tile(
                episode.support_image[row, k],
                episode.support_mask[row, k] > 0,
                SUPPORT_COLOR,
                spotlight,
            )
            for k in range(shown)
        ]
        tiles += [
            _tile(image, None, TRUTH_COLOR),
            _tile(image, mask, TRUTH_COLOR),
            _tile(image, prediction, PREDICTION_COLOR),
        ]
        top = head + row * (TILE + line + gap)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (gap + column * (TILE + gap), top))
        name = split.class_names[records.class_id[row]]
        note = f"{titles[row]}  " if titles else ""
        image_id = split.items[records.query[row, 0]][0]
        note += f"IoU {iou(counts):.3f}  "
        note += image_id if image_id.startswith(name) else f"{name}  {image_id}"
        pen.text((gap, top + TILE + 2), note, fill="black", font=font)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")


def panels(path: Path, rows: Sequence[Sequence[tuple[str, np.ndarray]]]) -> None:
    """A PNG of rows of (title, picture); pictures may have any size."""
    figure, axes = plt.subplots(
        len(rows),
        len(rows[0]),
        figsize=(2.2 * len(rows[0]), 2.3 * len(rows)),
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, picture) in zip(axes.flat, itertools.chain(*rows), strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


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
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
    return path
