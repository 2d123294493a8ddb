"""A picture of episodes with several classes, a color each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Int
from PIL import Image, ImageDraw, ImageFont

from fss_jax.reports import drawing
from fss_jax.runtime import files

COLORS = ((255, 176, 0), (220, 38, 127), (100, 143, 255), (0, 158, 115), (254, 97, 0))
TILE, GAP, LINE = 160, 6, 20  # pixels


def contact_sheet(
    path: Path,
    support_image: Float[Array | np.ndarray, "b c k h w 3"],
    support_mask: Float[Array | np.ndarray, "b c k h w"],
    query_image: Float[Array | np.ndarray, "b 1 H W 3"],
    truth: Float[Array | np.ndarray, "b c S T"],
    predicted: Int[Array | np.ndarray, "b S T"],
    names: Sequence[Sequence[str]],
) -> None:
    """A row an episode: the first support of each class, the query, its truth, the prediction.

    Args:
      predicted: 0 background, then the ways.
      names: of each episode's classes.
    """
    count, ways = truth.shape[:2]
    width, height = (ways + 3) * (TILE + GAP) + GAP, count * (TILE + LINE + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    wanted = np.asarray(truth)
    for row in range(count):
        tiles = [
            (
                _tile(support_image[row, way, 0], {way: np.asarray(support_mask[row, way, 0]) > 0}),
                name,
            )
            for way, name in enumerate(names[row])
        ]
        query = query_image[row, 0]
        tiles.append((_tile(query, {}), "query"))
        tiles.append((_tile(query, {w: wanted[row, w] > 0 for w in range(ways)}), "truth"))
        found = np.asarray(predicted[row])
        tiles.append((_tile(query, {w: found == w + 1 for w in range(ways)}), "prediction"))
        for column, (tile, title) in enumerate(tiles):
            corner = (GAP + column * (TILE + GAP), row * (TILE + LINE + GAP))
            short = title if len(title) < 22 else f"..{title[-19:]}"
            pen.text(corner, short, fill="black", font=font)
            sheet.paste(tile, (corner[0], corner[1] + LINE))
    with files.atomic(path) as temporary:
        sheet.save(temporary, "PNG")


def _tile(image: Array, masks: dict[int, np.ndarray]) -> Image.Image:
    """An image with the mask of each way tinted in its color."""
    picture = Image.fromarray(np.clip(np.asarray(image), 0, 255).astype(np.uint8))
    pixels = np.asarray(picture.resize((TILE, TILE), Image.Resampling.BILINEAR))
    for way, mask in masks.items():
        small = Image.fromarray(mask.astype(np.uint8)).resize(
            (TILE, TILE), Image.Resampling.NEAREST
        )
        pixels = drawing.overlay(pixels, np.asarray(small) > 0, COLORS[way % len(COLORS)])
    return Image.fromarray(pixels)
