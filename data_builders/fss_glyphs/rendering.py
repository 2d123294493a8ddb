"""Draws the pictures: textured objects in random pose, light and blur on a textured background.

Everything is a function of its arguments; randomness comes from the generator handed in. Lengths
in an object's own frame are in units of the root of its silhouette's area (glyphs.py).
"""

import colorsys
import dataclasses
import math

import numpy as np
from scipy import fft, ndimage

from data_builders.fss_glyphs.glyphs import EXTENT, MAX_REACH

GRID = 32  # cells per side of the coarse grid on which objects are laid out
AREA = (0.06, 0.19)  # of the picture, per object; the same range for all, so size tells nothing
MAX_HIDDEN = 0.05  # of an object, by the frame and by objects placed before it
MIN_VISIBLE = 0.035  # of the picture


@dataclasses.dataclass(frozen=True)
class Texture:
    """What a surface looks like: a pattern that mixes two colors (hue, saturation, value)."""

    kind: str
    colors: tuple[tuple[float, float, float], tuple[float, float, float]]
    period: float  # of the pattern, in units of the surface's frame
    angle: float  # radians
    softness: float  # 0 hard edges .. 1 sinusoidal
    share: float  # where the pattern switches color, -0.4 .. 0.4

    def jittered(self, rng: np.random.Generator) -> "Texture":
        """The same surface as another picture shows it: slightly other color and scale."""
        shift = rng.normal(0, 0.025)
        fade, gain = rng.uniform(0.75, 1.1), rng.uniform(0.85, 1.12)
        colors = tuple(
            ((hue + shift) % 1, min(1, saturation * fade), min(1, value * gain))
            for hue, saturation, value in self.colors
        )
        return dataclasses.replace(
            self,
            colors=colors,
            period=self.period * rng.uniform(0.85, 1.2),
            angle=self.angle + rng.normal(0, 0.1),
        )


def _wave(x):
    return np.sin(2 * math.pi * x)


def _plain(u, v, rng):
    return np.full(np.broadcast_shapes(u.shape, v.shape), -1, np.float32)


def _gradient(u, v, rng):
    return np.clip(0.35 * u + 0 * v, -1, 1)


def _stripes(u, v, rng):
    return _wave(u) + 0 * v


def _checks(u, v, rng):
    return 1.5 * _wave(u / 1.4) * _wave(v / 1.4)


def _dots(u, v, rng):
    return 1.3 * np.cos(2 * math.pi * u) + 1.3 * np.cos(2 * math.pi * v) - 0.9


def _rings(u, v, rng):
    return _wave(np.hypot(u, v))


def _zigzag(u, v, rng):
    return _wave(u + 0.8 * np.abs(v - np.round(v)))


def _waves(u, v, rng):
    return _wave(u + 0.3 * _wave(v / 1.7))


def _blotches(u, v, rng):
    # Smooth noise: random values on a lattice of half a period, interpolated.
    lattice = rng.uniform(-1.6, 1.6, (32, 32)).astype(np.float32)
    rows, columns = np.broadcast_arrays((v * 2 + 16) % 31, (u * 2 + 16) % 31)
    return ndimage.map_coordinates(lattice, [rows, columns], order=1)


PATTERNS = {
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "rings": _rings,
    "zigzag": _zigzag,
    "waves": _waves,
    "blotches": _blotches,
}


def class_texture(rng: np.random.Generator, *, muted: bool = False) -> Texture:
    """A surface as classes have them: a definite hue, and often a second color.

    Args:
      muted: greys, browns and darks, too, as things in photographs have them.
    """
    hue = rng.random()
    saturation = rng.uniform(0.0 if muted else 0.5, 1)
    value = rng.uniform(0.15 if muted else 0.55, 1)
    second = {
        "dark": (hue, saturation, value * rng.uniform(0.25, 0.5)),
        "light": (hue, saturation * rng.uniform(0.1, 0.35), min(1, value * 1.3)),
        "other": ((hue + rng.uniform(0.15, 0.85)) % 1, rng.uniform(0.5, 1), rng.uniform(0.5, 1)),
    }[rng.choice(["dark", "light", "other"])]
    return Texture(
        kind=str(rng.choice(list(PATTERNS))),
        colors=((hue, saturation, value), second),
        period=rng.uniform(0.3, 0.6),
        angle=rng.uniform(0, math.pi),
        softness=rng.uniform(0.1, 0.8),
        share=rng.uniform(-0.3, 0.3),
    )


def background_texture(rng: np.random.Generator) -> Texture:
    """A surface for behind the objects: any color, coarser or finer than an object's."""
    first = (rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1))
    second = (
        (first[0] + rng.normal(0, 0.15)) % 1,
        rng.uniform(0.1, 0.9),
        np.clip(first[2] + rng.uniform(-0.5, 0.5), 0.1, 1),
    )
    return Texture(
        kind=str(rng.choice(list(PATTERNS))),
        colors=(first, second),
        period=math.exp(rng.uniform(math.log(0.25), math.log(1.2))),
        angle=rng.uniform(0, math.pi),
        softness=rng.uniform(0.1, 1),
        share=rng.uniform(-0.4, 0.4),
    )


def paint(texture: Texture, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colors of surface points.

    Args:
      u, v: float32 [h, w] coordinates in the surface's frame.
    Returns:
      float32 [h, w, 3] in 0..1.
    """
    cos = np.float32(math.cos(texture.angle) / texture.period)
    sin = np.float32(math.sin(texture.angle) / texture.period)
    phase_u, phase_v = rng.random(2, np.float32)
    pattern = PATTERNS[texture.kind](cos * u + sin * v + phase_u, cos * v - sin * u + phase_v, rng)
    if texture.kind != "gradient":
        pattern = (pattern - np.float32(texture.share)) / np.float32(texture.softness)
    mix = np.clip(0.5 + 0.5 * pattern, 0, 1).astype(np.float32)[..., None]
    first, second = (np.float32(colorsys.hsv_to_rgb(*color)) for color in texture.colors)
    return first + mix * (second - first)


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where an object lies: picture fraction coordinates to its own frame, a homography."""

    matrix: np.ndarray  # float [2, 2], applied to (x, y) minus the center
    tilt: np.ndarray  # float [2], the perspective terms
    center: tuple[float, float] = (0.5, 0.5)

    @classmethod
    def random(cls, area: float, rng: np.random.Generator) -> "Pose":
        """Any rotation, some stretch and shear, mild perspective.

        Args:
          area: of the silhouette, as a fraction of the picture, before perspective.
        """
        turn, across = rng.uniform(0, 2 * math.pi, 2)
        stretch = math.exp(rng.normal(0, 0.12))
        matrix = _rotation(across) @ np.diag([stretch, 1 / stretch]) @ _rotation(turn)
        return cls(matrix / math.sqrt(area), rng.uniform(-0.18, 0.18, 2) / math.sqrt(area))

    def shrunk(self, factor: float) -> "Pose":
        return dataclasses.replace(self, matrix=self.matrix / factor, tilt=self.tilt / factor)

    def at(self, x: float, y: float) -> "Pose":
        return dataclasses.replace(self, center=(x, y))

    @property
    def scale(self) -> float:
        """Picture fractions per unit of the object's frame."""
        return 1 / math.sqrt(np.linalg.det(self.matrix))

    def to_object(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Object coordinates (u, v) of picture points, float32 [h, w] each.

        Args:
          x, y: float [1, w] and [h, 1] picture fractions.
        """
        x = (x - self.center[0]).astype(np.float32)
        y = (y - self.center[1]).astype(np.float32)
        matrix, tilt = self.matrix.astype(np.float32), self.tilt.astype(np.float32)
        # Far outside the object the denominator could vanish; the object itself stays above 0.6.
        away = 1 / np.maximum(1 + tilt[0] * x + tilt[1] * y, np.float32(0.5))
        u = (matrix[0, 0] * x + matrix[0, 1] * y) * away
        v = (matrix[1, 0] * x + matrix[1, 1] * y) * away
        return u, v


def _rotation(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def sample(field: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A signed distance field (float32 [side, side], glyphs.py) at object points (u, v)."""
    step = np.float32(field.shape[0] / EXTENT)
    middle = np.float32((field.shape[0] - 1) / 2)
    return ndimage.map_coordinates(
        field, [v * step + middle, u * step + middle], order=1, mode="nearest"
    )


def lay_out(
    fields: list[np.ndarray], rng: np.random.Generator, area: tuple[float, float] = AREA
) -> list[Pose]:
    """Poses for objects such that the frame and the others hide little of each.

    Every object's position is drawn uniformly from all that fit beside those placed before. If
    there is no room, all shrink alike; if even that does not help, the last objects are left out.

    Args:
      fields: signed distance fields; the order is the order of placing.
      area: the range of areas, as fractions of the picture.
    Returns:
      Poses of the first objects: all of them, or as many as found room.
    """
    areas = np.exp(rng.uniform(*np.log(area), len(fields)))
    poses = [Pose.random(one, rng) for one in areas]
    for count in range(len(fields), 0, -1):
        for shrink in (1, 0.92, 0.85):
            chosen = [pose.shrunk(shrink) for pose in poses[:count]]
            placed = _place(fields[:count], chosen, rng)
            if placed:
                return placed
    return [poses[0].shrunk(0.85)]  # centered: one object always fits


def _place(fields, poses, rng):
    # The picture is a quarter of the canvas and the rest counts as occupied, so that a circular
    # correlation sees the frame as one more obstacle.
    occupied = np.ones((2 * GRID, 2 * GRID), np.float32)
    occupied[:GRID, :GRID] = 0
    middles = (np.arange(GRID) + 0.5) / GRID
    placed = []
    for field, pose in zip(fields, poses, strict=True):
        u, v = pose.to_object(middles[None], middles[:, None])
        mask = (sample(field, u, v) > 0).astype(np.float32)
        padded = np.zeros_like(occupied)
        padded[:GRID, :GRID] = mask
        hidden = fft.irfft2(fft.rfft2(occupied) * fft.rfft2(padded).conj())
        rows, columns = np.nonzero(hidden <= MAX_HIDDEN * mask.sum())
        if not len(rows):
            return None
        pick = rng.integers(len(rows))
        row, column = rows[pick], columns[pick]
        occupied = np.maximum(occupied, np.roll(padded, (row, column), (0, 1)))
        # Shifts beyond half the canvas are negative ones.
        shift = [(s + GRID) % (2 * GRID) - GRID for s in (column, row)]
        jitter = rng.uniform(-0.5, 0.5, 2)
        placed.append(pose.at(*(0.5 + (shift + jitter) / GRID)))
    return placed


def render(
    fields: list[np.ndarray],
    textures: list[Texture],
    size: int,
    rng: np.random.Generator,
    area: tuple[float, float] = AREA,
) -> tuple[np.ndarray, np.ndarray]:
    """One picture of some objects, and where the first one shows.

    Args:
      fields: signed distance fields (glyphs.py), the meant object's first.
      textures: the objects' surfaces.
      size: pixels per side.
      area: the range of the objects' areas, as fractions of the picture.
    Returns:
      (uint8 [size, size, 3] picture, bool [size, size] visible pixels of the first object, at
      least `MIN_VISIBLE` of the picture).
    """
    while True:
        order = rng.permutation(len(fields))  # of placing, so that being meant brings no advantage
        poses = lay_out([fields[i] for i in order], rng, area)
        order = order[: len(poses)]
        if 0 not in order or len(order) == 1:
            continue
        image, mask = _draw(
            [fields[i] for i in order], [textures[i] for i in order], poses, size, rng
        )
        visible = mask == list(order).index(0)
        if visible.mean() >= MIN_VISIBLE:
            return image, visible


def _draw(fields, textures, poses, size, rng):
    middles = ((np.arange(size) + 0.5) / size).astype(np.float32)
    unit = math.sqrt(0.1)  # the background's patterns are about as coarse as an object's
    x, y = middles[None] / unit, middles[:, None] / unit
    tilt = 1 + rng.uniform(-0.1, 0.1) * x + rng.uniform(-0.1, 0.1) * y
    image = paint(background_texture(rng), x / tilt, y / tilt, rng)
    if rng.random() < 0.5:  # a second surface beside it, like a wall behind a floor
        edge = math.cos(angle := rng.uniform(0, 2 * math.pi)) * (x * unit - 0.5)
        edge = edge + math.sin(angle) * (y * unit - 0.5) + rng.uniform(-0.25, 0.25)
        other = paint(background_texture(rng), x / tilt, y / tilt, rng)
        image = np.where(edge[..., None] > 0, other, image)
    owner = np.full((size, size), -1)
    shade = rng.uniform(0, 0.45)
    fall = np.rint(rng.normal(0, 0.02, 2) * size).astype(int)  # of the shadows, in pixels
    for number in rng.permutation(len(fields)):
        pose, field = poses[number], fields[number]
        window = _window(pose, size)
        u, v = pose.to_object(middles[None, window[1]], middles[window[0], None])
        distance = sample(field, u, v)
        shadow = np.clip(0.5 + _shifted(distance, *fall) / 0.3, 0, 1)
        surface = paint(textures[number], u, v, rng)
        bevel = np.float32(rng.uniform(0, 0.35))
        surface = surface * (1 - bevel * np.clip(1 - distance / 0.12, 0, 1))[..., None]
        cover = np.clip(0.5 + distance * np.float32(pose.scale * size), 0, 1)[..., None]
        ground = image[window] * (1 - np.float32(shade) * shadow)[..., None]
        image[window] = ground + cover * (surface - ground)
        owner[window][distance > 0] = number
    return _photograph(image, rng), owner


def _shifted(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """An array moved down and right, its edges repeated."""
    height, width = values.shape
    row = np.clip(np.arange(height) - rows, 0, height - 1)
    column = np.clip(np.arange(width) - columns, 0, width - 1)
    return values[row[:, None], column]


def _window(pose: Pose, size: int) -> tuple[slice, slice]:
    # The silhouette reaches MAX_REACH in its frame; stretch, perspective and shadow add to that.
    reach = 1.55 * MAX_REACH * pose.scale
    low = [max(0, math.floor((c - reach) * size)) for c in pose.center]
    high = [min(size, math.ceil((c + reach) * size)) for c in pose.center]
    return slice(low[1], high[1]), slice(low[0], high[0])


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, color cast, blur and noise; float [s, s, 3] in 0..1 to uint8."""
    size = image.shape[0]
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = rng.uniform(-0.45, 0.45, 2).astype(np.float32)
    light = (1 + slope[0] * ramp[None] + slope[1] * ramp[:, None]) * np.float32(
        rng.uniform(0.75, 1.15)
    )
    cast = rng.uniform(0.88, 1.1, 3).astype(np.float32)
    image = image * light[..., None] * cast
    blur = rng.uniform(0, 0.012) * size
    image = ndimage.gaussian_filter(image, (blur, blur, 0), truncate=2.5)
    image = image + rng.normal(0, rng.uniform(0, 0.025), image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
