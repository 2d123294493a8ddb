"""Decides from values, mode and palette what somebody saved as a mask.

- One value: nothing (0), or everything.
- 0 and one other value (0/1, 0/255, 0/38, black and a color), soft edges or not: the other one is
  the object.
- 0, 1 and 255: 1 is the object, 255 undecided (our own label maps, VOC's).
- An alpha channel that varies: what is opaque (a cut-out); where black and white are painted beside
  it, the white of what is opaque.
- Two levels without 0; 0, one id and void; what looks inverted: as `Reading.note` says.
- Several ids, gray levels or colors; a photograph: `Unclear`, a person has to choose.

`Choice` is how: `--mask_values`, `--void`, `--mask_color`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_builders import levels, mask_choice
from data_builders.mask_choice import NONE, Choice
from data_builders.pictures import MAX_PIXELS, Source, has_alpha, open_picture, to_uint8

HALF = 128
COLORFUL = 64  # channels further apart than this mean a color; soft edges of real masks reach 25
VOID = 255
IDS = 16  # below this values are ids, not grays
SMALL = 1000  # pixels: of a smaller mask nobody can say that it is inverted
VOC_BORDER = levels.pack(np.uint8([[[224, 224, 192]]])).item()  # void in VOC's colors


class Unclear(ValueError):
    """A picture that may mean several masks, or none."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


class Reading(NamedTuple):
    """A mask and what was decided.

    Attributes:
      label: uint8 [H, W]: 1 object, 0 background, 255 undecided.
      kind: 'binary', 'soft', 'label map', 'color map', 'alpha' or 'inverted'.
      note: one line on what was taken for granted; empty where only one reading is possible.
      value: the value that was taken for the object, where there is one.
    """

    label: np.ndarray
    kind: str
    note: str = ""
    value: int | None = None


class Plane(NamedTuple):
    """A picture as one number a pixel: gray values or ids, or packed colors beside their `rgb`."""

    values: np.ndarray
    rgb: np.ndarray | None = None
    kind: str = "gray"


def read(
    source: Source, name: str = "", max_pixels: int = MAX_PIXELS, choice: Choice = NONE
) -> Reading:
    """Reads a mask from a path, bytes or an open picture.

    Args:
      name: what messages call it; by default its path.

    Raises:
      Unclear: it has several readings, or is a photograph; `choice` settles it.
      FileNotFoundError, ValueError: as `pictures.open_picture`.
    """
    picture = open_picture(source, name, max_pixels)
    name = name or (str(source) if not isinstance(source, bytes | Image.Image) else "the mask")
    return decide(plane(picture, name), name, choice)


def read_mask(
    source: Source, name: str = "", max_pixels: int = MAX_PIXELS, choice: Choice = NONE
) -> np.ndarray:
    """`read` as bool [H, W], True on the object."""
    return read(source, name, max_pixels, choice).label == 1


def decide(found: Plane, name: str = "the mask", choice: Choice = NONE) -> Reading:
    """Decides what the values of a picture mean, by the table above.

    Raises:
      Unclear: they mean several things, or nothing.
    """
    values, rgb, kind = found
    if choice.values or choice.colors:
        return _chosen(found, name, choice)
    void = np.isin(values, choice.void) if choice.void else np.zeros(values.shape, bool)
    if kind == "probability":
        return _reading(values >= HALF, void, "soft")
    if rgb is None and values.size and values.min() < 0:
        if values.min() < -1:
            raise ValueError(
                f"{name} has the value {values.min()}; below 0 only -1 (void) is known"
            )
        void |= values == -1
    shown = values if not void.any() else values[~void][None]
    if shown.size == 0:
        return _reading(void & False, void, "label map")
    if void.any():  # areas are looked for in the picture: void takes the place of background
        values = np.where(void, shown.min(), values)
    seen = levels.find(values, rgb)
    if rgb is not None:
        return _flag_inverted(
            _decide_colors(values, rgb, seen, void, name), name, "--mask_color 0,0,0"
        )
    result = _decide_gray(values, seen, void, name, kind)
    if kind == "alpha" or result.kind == "label map":
        return result
    rest = "--mask_values 0" if result.kind == "binary" else "--mask_values 0-127"
    return _flag_inverted(result, name, rest)


def _decide_gray(values, seen, void, name, kind) -> Reading:
    counts, top = seen.counts, int(values.max())
    if len(counts) == 1 and not seen.noisy:
        return _reading(values > 0, void, "binary", value=top)
    few = not seen.noisy
    low = min(counts, default=0)
    if few and len(counts) == 2:
        if low == 0:
            what = "alpha" if kind == "alpha" else "binary"
            return _reading(values == top, void, what, value=top)
        if (low, top) == (1, VOID):
            note = mask_choice.note(
                name, counts, "1 is taken for the object, 255 for undecided", "255"
            )
            return _reading(values == 1, void | (values == VOID), "label map", note, 1)
        if top >= IDS:
            note = mask_choice.note(name, counts, f"{top} is taken for the object", str(low))
            return _reading(values == top, void, "binary", note, top)
    if few and levels.is_two_with_noise(counts):
        return _reading(values >= HALF, void, "soft")
    if few and (top < IDS or len(seen.areas) > 2 or low > 0 or _ids_and_void(counts)):
        return _label_map(values, seen, void, name, kind)
    if not few and len(seen.areas) > 2 and seen.even >= levels.FLAT:
        raise Unclear(mask_choice.choose(name, "has gray levels", counts), "label map")
    scale = 1 if top <= 255 else 257
    middle = np.mean((values > 32 * scale) & (values < 223 * scale))
    if not few and middle > 0.2 and not (len(seen.areas) == 2 and seen.even >= levels.FLAT):
        raise Unclear(
            f"{name} looks like a photograph, not a mask: {100 * middle:.0f} % of it is neither dark "
            "nor light; give the mask, or --mask_values 128-255 to cut it there",
            "photograph",
        )
    dark, bright = (seen.areas[0], seen.areas[-1]) if len(seen.areas) > 1 else (0, 255 * scale)
    if dark <= 64 * scale and bright >= 192 * scale:
        return _reading(values >= HALF * scale, void, "soft")
    cut = (dark + bright + 1) // 2
    note = (
        f"{name} has soft levels from {dark} to {bright}: cut at {cut}; --mask_values "
        f"{cut}-{bright} says the same, another range something else"
    )
    return _reading(values >= cut, void, "soft", note)


def _ids_and_void(counts: dict[int, int]) -> bool:
    """0, one small id and void."""
    rest = set(counts) - {0, VOID, 65535}
    return len(rest) == 1 and max(rest) < 2 * levels.FEW and len(counts) == len(rest) + 2


def _label_map(values, seen, void, name, kind) -> Reading:
    """A few values that each fill areas: ids, with 255 (or 65535) as void."""
    ids = [v for v in seen.counts if v != 0]
    top = max(ids)
    if top in (VOID, 65535) and len(ids) > 1 and (max(ids[:-1]) < 2 * levels.FEW or kind == "ids"):
        void, ids = void | (values == top), ids[:-1]
        if len(ids) == 1:
            id_ = ids[0]
            note = "" if id_ == 1 or kind == "ids" else mask_choice.note(
                name, seen.counts, f"{id_} is taken for the object, {top} for undecided", f"{id_},{top}"
            )  # fmt: skip
            return _reading(values == id_, void, "label map", note, id_)
    what = "is a label map with the values"
    told = mask_choice.choose(name, what, seen.counts, ids)
    if void.any():
        told += " (255 is taken as undecided)" if top == VOID else " (void is left out)"
    raise Unclear(told, "label map")


def _flag_inverted(found: Reading, name: str, rest: str) -> Reading:
    """Notes a mask whose object is most of the picture and of its border."""
    mask = found.label == 1
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if mask.size < SMALL or border.mean() < 0.8 or not 0.5 < mask.mean() < 1 or found.note:
        return found
    note = (
        f"{name} may be inverted: the object is {100 * mask.mean():.0f} % of it and "
        f"{100 * border.mean():.0f} % of its border; if the rest is the object, say {rest}"
    )
    return found._replace(kind="inverted", note=note)


def _decide_colors(values, rgb, seen, void, name) -> Reading:
    counts = seen.counts
    if not seen.noisy and VOC_BORDER in counts and 0 in counts and len(counts) > 2:
        void = void | (values == VOC_BORDER)
        rest = {v: c for v, c in counts.items() if v != VOC_BORDER}
        seen = seen._replace(areas=tuple(v for v in seen.areas if v in rest), counts=rest)
        counts = rest
    if len(counts) == 1 and not seen.noisy:
        return _reading(values > 0, void, "binary", value=next(iter(counts)))
    filled = sum(counts.values()) / values.size
    if seen.noisy and (len(seen.areas) < 2 or min(seen.even, filled) < levels.FLAT):
        raise Unclear(
            f"{name} looks like a photograph, not a mask: it has no even areas of color; give the mask",
            "photograph",
        )
    dark = [v for v in seen.areas if max(levels.unpack(v)) < 32] if seen.noisy else [0]
    if len(seen.areas) != 2 or seen.areas[0] not in dark:
        what = (
            "has several colors" if dark and 0 in counts else "has colors and no black background"
        )
        raise Unclear(mask_choice.choose(name, what, counts, in_color=True), "color map")
    if not seen.noisy and len(counts) == 2:
        return _reading((values == seen.areas[1]) & ~void, void, "binary", value=seen.areas[1])
    # Soft edges: how far a pixel is on the way from the one color to the other.
    start, end = (np.array(levels.unpack(v), np.float64) for v in seen.areas)
    way = end - start
    return _reading(((rgb - start) @ way) * 2 >= way @ way, void, "soft", value=seen.areas[1])


def _chosen(found: Plane, name: str, choice: Choice) -> Reading:
    values, rgb, _ = found
    void = np.isin(values, choice.void)
    if choice.colors:
        if rgb is None:
            rgb = np.repeat(np.clip(values, 0, 255)[..., None], 3, -1)
        packed = levels.pack(rgb.astype(np.uint8))
        exact = len(np.unique(packed)) <= levels.FEW
        mask = np.zeros(packed.shape, bool)
        for color in choice.colors:
            distance = np.abs(rgb.astype(np.int64) - np.array(color)).max(-1)
            mask |= distance <= (0 if exact else levels.NEAR // 2)
        said, colors = f"--mask_color {mask_choice.colors(choice.colors)}", True
        values = packed
    elif rgb is not None:
        raise ValueError(
            f"{name} is a picture in colors: --mask_color R,G,B says which one is meant"
        )
    else:
        mask = np.isin(values, choice.values)
        said, colors = f"--mask_values {mask_choice.ranges(choice.values)}", False
    if not mask.any():
        seen = levels.find(values, rgb if colors else None)
        raise ValueError(
            f"{name} has nothing of {said}: it has {mask_choice.listed(seen.counts, colors)}"
        )
    return _reading(mask, void, "color map" if colors else "label map")


def plane(picture: Image.Image, name: str = "the mask") -> Plane:
    """One number a pixel of a mask's picture, whatever its mode."""
    mode = picture.mode
    if has_alpha(picture):
        rgba = np.asarray(picture.convert("RGBA"))
        rgb, alpha = rgba[..., :3], rgba[..., 3]
        if alpha.min() != alpha.max():
            return _alpha_plane(rgb, alpha)
        if mode != "P":
            return _color_plane(rgb)
    if mode == "P":
        return _palette_plane(picture)
    if mode.startswith(("I", "F")):
        return deep(np.asarray(picture), name)
    if mode in ("1", "L"):
        return Plane(np.asarray(picture.convert("L")))
    return _color_plane(np.asarray(picture.convert("RGB")))


def deep(values: np.ndarray, name: str = "the mask") -> Plane:
    """Values of 16 or 32 bits, or floats: ids, or grays, or probabilities from 0 to 1.

    Raises:
      ValueError: values that are not finite.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite; expected 0 to 255, or 0 to 1")
        if (values != np.rint(values)).any():
            if 0 <= values.min() and values.max() <= 1:
                return Plane(np.rint(values * 255).astype(np.int64), kind="probability")
            values = np.rint(values)
        if np.abs(values).max(initial=0) >= 2**31:
            raise ValueError(f"{name} has values up to {values.max():.3g}; expected 0 to 65535")
    values = values.astype(np.int64)
    if len(np.unique(values)) > levels.FEW and values.min() >= 0 and values.max() > 255:
        return Plane(to_uint8(values))  # grays, as in `pictures`
    return Plane(values)


def _alpha_plane(rgb: np.ndarray, alpha: np.ndarray) -> Plane:
    there = alpha > 0
    painted = np.unique(levels.pack(rgb[there][None]))
    if len(painted) == 1:
        return Plane(alpha, kind="alpha")
    shades = rgb[there].max(-1) == rgb[there].min(-1)
    two = shades.all() and levels.find(levels.pack(rgb * there[..., None])).areas
    if len(painted) <= levels.FEW or (two and len(two) == 2):
        return _color_plane(rgb * there[..., None])  # a map on a transparent background
    return Plane(alpha, kind="alpha")  # a cut-out


def _color_plane(rgb: np.ndarray) -> Plane:
    spread = int((rgb.max(-1) - rgb.min(-1)).max(initial=0))
    if spread and spread <= COLORFUL:
        packed = levels.pack(rgb)
        areas = levels.find(packed, rgb).areas
        colors = [levels.unpack(v) for v in areas]
        # Among ids even the smallest difference counts; soft edges of real masks are not quite gray.
        if all(max(c) - min(c) <= (8 if max(c) >= IDS else 0) for c in colors):
            spread = 0  # grays, but for their soft edges
    if spread == 0:
        return Plane(np.asarray(Image.fromarray(rgb).convert("L")))
    return Plane(levels.pack(rgb), rgb)


def _palette_plane(picture: Image.Image) -> Plane:
    index = np.asarray(picture)
    used = np.unique(index)
    rgb = np.asarray(picture.convert("RGB"))
    colors = [rgb[index == i][0] for i in used] if len(used) <= 256 else []
    black = bytes(picture.getpalette("RGB")[:3]) == b"\0\0\0"
    alike = len({tuple(color) for color in colors} | ({(0, 0, 0)} if black else set()))
    if alike < len(set(used.tolist()) | ({0} if black else set())):
        return Plane(index.astype(np.int64), kind="ids")  # some look alike: only the entries say it
    if all(color.max() == color.min() for color in colors):
        return Plane(rgb[..., 0])
    if len(used) > levels.FEW or not set(used.tolist()) - {0, VOID}:
        return _color_plane(rgb)
    seen = levels.find(index.astype(np.int64))
    if (
        VOID not in used
        and len(seen.areas) < len(used)
        and len(levels.find(levels.pack(rgb), rgb).areas) <= 2
    ):
        return _color_plane(rgb)  # soft edges between two colors
    black = [int(i) for i, color in zip(used, colors, strict=True) if not color.any()]
    ids = index.astype(np.int64)
    if black and black[0] != 0:  # black is the background, whichever entry it is
        ids = np.where(index == black[0], 0, np.where(index == 0, black[0], ids))
    return Plane(ids, kind="ids")


def _reading(mask, void, kind, note="", value=None) -> Reading:
    label = np.where(void, VOID, mask).astype(np.uint8)
    return Reading(label, kind, note, value)


def same_value(readings: Iterable[tuple[str, Reading]]) -> None:
    """Masks of one class mark one value: where they differ, they are ids of several classes.

    0/1 beside 0/255 is one class, saved by two programs.

    Args:
      readings: (name for messages, mask), as read without a `Choice`.

    Raises:
      Unclear: different values are the object in different masks.
    """
    seen: dict[int, str] = {}
    for name, reading in readings:
        if not reading.value or reading.kind == "alpha":
            continue
        other = next(iter(seen), reading.value)
        seen.setdefault(reading.value, name)
        if reading.value != other and not seen.keys() <= {1, VOID, 65535}:
            raise Unclear(
                f"{name} marks the value {reading.value}, {seen[other]} the value {other}, as label "
                f"maps of several classes do; say which are the object: "
                f"--mask_values {mask_choice.ranges(seen)} (all), or fewer (colors: --mask_color R,G,B)",
                "label map",
            )
