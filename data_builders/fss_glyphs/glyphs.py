"""The 1000 classes: chunky, distinct glyph silhouettes of the fonts that Matplotlib ships.

`classes.csv` beside this file lists them. It was made once by

    python -m data_builders.fss_glyphs.glyphs

which looks at every glyph of every font, keeps the chunky ones in one piece, drops what looks like
one already kept under some rotation, draws 1000 by a fixed seed and splits them.
"""

import csv
import dataclasses
import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import ImageFont
from scipy import ndimage

CLASSES_FILE = Path(__file__).with_name("classes.csv")
SPLITS = {"train": 520, "val": 240, "test": 240}  # the class split of FSS-1000 (FSS 5.1)
SEED = 2020

SIDE = 96  # pixels of a silhouette's canvas
EXTENT = 2.4  # the canvas's side in units of the root of the silhouette's area
MAX_REACH = 1.1  # farthest point from the centroid, in the same unit: a disc has 0.56
BOLD = 0.06  # by which every outline grows, in the same unit: strokes that a small picture shows
MIN_STROKE = 0.23  # thinnest stroke that counts as chunky, in the same unit
MAX_IOU = 0.81  # above this, under the best rotation, two silhouettes are near-identical
RENDER_SIZE = 96  # pixels per em

RADII, ANGLES = 20, 72  # the polar grid on which silhouettes are compared


@dataclasses.dataclass(frozen=True)
class GlyphClass:
    """One class: its glyph (a code point of a font file) and the split it belongs to."""

    name: str
    split: str
    font: str
    code: int


@functools.cache
def load_classes() -> tuple[GlyphClass, ...]:
    """The classes in the order of their ids (the first has id 1)."""
    with CLASSES_FILE.open(newline="") as file:
        return tuple(
            GlyphClass(row["name"], row["split"], row["font"], int(row["code"], 16))
            for row in csv.DictReader(file)
        )


def fonts_dir() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.cache
def _font(file: str) -> ImageFont.FreeTypeFont:
    path = fonts_dir() / file
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: this Matplotlib ships no such font; install the version of constraints.txt"
        )
    return ImageFont.truetype(str(path), RENDER_SIZE, layout_engine=ImageFont.Layout.BASIC)


def glyph_mask(font: str, code: int) -> np.ndarray:
    """A glyph as its font draws it: bool [h, w], cropped to the ink, `RENDER_SIZE` px per em."""
    bitmap = _font(font).getmask(chr(code), mode="L")
    mask = np.asarray(bitmap, np.uint8).reshape(bitmap.size[::-1]) > 127
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((0, 0), bool)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """The emboldened silhouette as a signed distance field on a canvas that fits every glyph alike.

    The centroid lies at the canvas's centre. Lengths are in units of the root of the silhouette's
    area, of which the canvas's side is `EXTENT`: drawn with a scale of s pixels, the silhouette
    covers s * s pixels.

    Args:
      mask: bool [h, w], cropped to the ink, not empty.
    Returns:
      float32 [SIDE, SIDE], positive inside.
    """
    growth = BOLD * np.sqrt(mask.sum())
    mask = ndimage.distance_transform_edt(~np.pad(mask, int(growth) + 1)) <= growth
    unit = np.sqrt(mask.sum())
    pad = int(np.ceil(EXTENT / 2 * unit))
    mask = np.pad(mask, pad)
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    center = np.array(ndimage.center_of_mass(mask))
    step = EXTENT * unit / SIDE
    field = ndimage.affine_transform(
        distance.astype(np.float32),
        np.full(2, step),
        center - step * (SIDE - 1) / 2,
        output_shape=(SIDE, SIDE),
        order=1,
        mode="nearest",
    )
    return field / np.float32(unit)


def silhouettes(classes: tuple[GlyphClass, ...]) -> np.ndarray:
    """Signed distance fields, float32 [n, SIDE, SIDE], of some classes."""
    return np.stack([signed_distance(glyph_mask(c.font, c.code)) for c in classes])


def is_chunky(mask: np.ndarray) -> bool:
    """True for a compact silhouette in one piece without thin strokes (bool [h, w])."""
    if mask.sum() < 300:  # too coarse to judge
        return False
    pieces, count = ndimage.label(mask)
    if count > 1 and np.bincount(pieces.ravel())[1:].max() < 0.99 * mask.sum():
        return False
    unit = np.sqrt(mask.sum())
    points = np.argwhere(mask)
    if np.hypot(*(points - points.mean(0)).T).max() > MAX_REACH * unit:
        return False
    radius = MIN_STROKE * unit / 2
    padded = np.pad(mask, 2)
    core = ndimage.distance_transform_edt(padded) >= radius
    opened = ndimage.distance_transform_edt(~core) <= radius
    return bool((opened & padded).sum() > 0.93 * mask.sum())


def polar(field: np.ndarray) -> np.ndarray:
    """A silhouette in polar coordinates, every sample weighted by the root of the area it stands for.

    The overlap of two silhouettes, one turned by k steps, is the inner product of their samples
    with one shifted by k.

    Args:
      field: float32 [SIDE, SIDE] signed distance field.
    Returns:
      float32 [RADII, ANGLES].
    """
    radius = (np.arange(RADII) + 0.5) / RADII * MAX_REACH
    angle = np.arange(ANGLES) * 2 * np.pi / ANGLES
    rows = radius[:, None] * np.sin(angle) / EXTENT * SIDE + (SIDE - 1) / 2
    columns = radius[:, None] * np.cos(angle) / EXTENT * SIDE + (SIDE - 1) / 2
    inside = ndimage.map_coordinates(field, [rows, columns], order=1) > 0
    return (inside * np.sqrt(radius)[:, None]).astype(np.float32)


def best_iou(spectrum: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The IoU of a silhouette with others under the best rotation.

    Args:
      spectrum: complex [RADII, ANGLES // 2 + 1], `np.fft.rfft(polar(...))`.
      others: complex [n, RADII, ANGLES // 2 + 1].
    Returns:
      float [n].
    """
    overlap = np.fft.irfft(np.einsum("nra,ra->na", others, spectrum.conj()), ANGLES).max(1)
    own = _energy(spectrum[None])[0]
    return overlap / (own + _energy(others) - overlap)


def _energy(spectra: np.ndarray) -> np.ndarray:
    # Parseval: all but the first and last of the half spectrum stand for two terms.
    twice = np.full(spectra.shape[-1], 2.0)
    twice[[0, -1]] = 1
    return (np.abs(spectra) ** 2 * twice).sum((1, 2)) / ANGLES


def distinct(fields: np.ndarray) -> list[int]:
    """Indices of silhouettes of which no two are near-identical, the earlier of two being kept.

    Args:
      fields: float32 [n, SIDE, SIDE] signed distance fields.
    """
    kept: list[int] = []
    spectra = np.empty((len(fields), RADII, ANGLES // 2 + 1), np.complex64)
    for index, field in enumerate(fields):
        spectrum = np.fft.rfft(polar(field)).astype(np.complex64)
        if not kept or best_iou(spectrum, spectra[: len(kept)]).max() <= MAX_IOU:
            spectra[len(kept)] = spectrum
            kept.append(index)
    return kept


def select() -> list[GlyphClass]:
    """Chooses the classes; about a minute."""
    from matplotlib.ft2font import FT2Font

    found, fields = [], []
    for path in sorted(fonts_dir().glob("*.ttf")):
        if path.stem.startswith("LastResort"):  # placeholder boxes with tiny text
            continue
        for code in sorted(FT2Font(str(path)).get_charmap()):
            mask = glyph_mask(path.name, code)
            if mask.size and is_chunky(mask):
                found.append((path.name, code))
                fields.append(signed_distance(mask))
    kept = distinct(np.stack(fields))
    print(f"{len(found)} chunky glyphs, {len(kept)} distinct silhouettes")
    chosen = np.random.default_rng(SEED).permutation(kept)[: sum(SPLITS.values())]
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    return [
        GlyphClass(_name(*found[index]), split, *found[index])
        for index, split in zip(chosen, splits, strict=True)
    ]


def _name(font: str, code: int) -> str:
    return f"glyph_{Path(font).stem.lower().replace('-', '_')}_{code:04x}"


def main() -> None:
    with CLASSES_FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "split", "font", "code"])
        for c in select():
            writer.writerow([c.name, c.split, c.font, f"{c.code:04x}"])


if __name__ == "__main__":
    main()
