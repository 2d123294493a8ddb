"""Pictures of episodes: masks over images, contact sheets of them, panels."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fss_jax.data.bank import Episode
from fss_jax.data.datasets import Split
from fss_jax.data.records import Records
from fss_jax.runtime.files import atomic

TILE = 160  # pixels of a picture in a contact sheet
SUPPORT_COLOR, TRUTH_COLOR, PREDICTION_COLOR = (255, 176, 0), (0, 158, 115), (220, 38, 127)


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
    shown = np.clip(image, 0, 255).astype(np.uint8)
    edge = outline(mask)
    inside = mask & ~edge
    shown[inside] = image[inside] * 0.55 + np.asarray(color) * 0.45
    shown[edge] = color
    return shown


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
    ious: np.ndarray,
    titles: Sequence[str] | None = None,
) -> None:
    """A PNG with one row per episode: supports, query, truth, prediction, with the query's IoU.

    Args:
      episode: of N records, as numpy.
      logits: [N, Q, S, T]; the first query of each record is drawn.
      ious: [N] of the queries that are drawn.
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
        note += f"IoU {ious[row]:.3f}  "
        note += image_id if image_id.startswith(name) else f"{name}  {image_id}"
        pen.text((gap, top + TILE + 2), note, fill="black", font=font)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")


def panels(path: Path, rows: Sequence[Sequence[tuple[str, np.ndarray]]]) -> None:
    """A PNG of rows of (title, picture); pictures may have any size."""
    from fss_jax.reports.figures import plt  # slow to import, and fss label needs the rest only

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
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
