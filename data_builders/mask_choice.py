"""What a person says of masks that can be read in several ways, and how they are asked."""

from typing import NamedTuple

from data_builders import levels

MANY = 16  # values that a message lists


class Choice(NamedTuple):
    """What a person says of masks that can be read in several ways.

    Attributes:
      values: the gray values, ids or palette entries that are the object; every other is background.
      void: those that are undecided; -1 in files that can hold it.
      colors: the RGB colors that are the object.
    """

    values: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()

    @property
    def given(self) -> bool:
        return self != Choice()

    @classmethod
    def parse(cls, values: str = "", void: str = "", color: str = "") -> "Choice":
        """From the text of the flags: '1,2' or '128-255'; '255'; '176,112,32' or 'R,G,B;R,G,B'.

        Raises:
          ValueError: something else.
        """
        colors = tuple(_numbers("mask_color", part) for part in filter(None, color.split(";")))
        if any(len(rgb) != 3 or min(rgb) < 0 or max(rgb) > 255 for rgb in colors):
            raise ValueError(f"--mask_color {color}: expected R,G,B, each 0 to 255")
        if colors and values:
            raise ValueError("--mask_values and --mask_color exclude each other")
        return cls(_numbers("mask_values", values), _numbers("void", void), colors)


NONE = Choice()


def note(name: str, counts: dict[int, int], taken: str, other: str) -> str:
    """What was taken for granted of a mask, and the flag for the other reading."""
    return f"{name} has {listed(counts)}: {taken}; if not, say --mask_values {other}"


def choose(name, what, counts, ids=(), in_color=False) -> str:
    """That a mask has several readings, which one is proposed, and the flag that chooses."""
    if in_color:
        some = [levels.unpack(v) for v in sorted(counts, key=lambda v: -counts[v])]
        some = [color for color in some if max(color) >= 32] or some
        return (
            f"{name} {what}: {listed(counts, True)}; say which are the object: --mask_color "
            f"'{colors(some)}' (all of them), or fewer as --mask_color {colors(some[-1:])}"
        )
    ids = ids or [v for v in counts if v > 0]
    proposed = ranges(ids)
    return (
        f"{name} {what} {listed(counts)}; say which are the object: --mask_values {proposed} "
        f"(all of them), or fewer as --mask_values {ids[0]}; --void V leaves a value undecided"
    )


def listed(counts: dict[int, int], in_color: bool = False) -> str:
    """'0 (95.0 %), 1 (900 pixels), 2 (664 pixels)'."""
    total = max(sum(counts.values()), 1)
    parts = []
    for i, (value, count) in enumerate(counts.items()):
        if i == MANY:
            parts.append(f"and {len(counts) - MANY} more")
            break
        shown = f"({','.join(map(str, levels.unpack(value)))})" if in_color else str(value)
        parts.append(f"{shown} ({100 * count / total:.1f} %, {count} pixels)")
    return ", ".join(parts)


def colors(some) -> str:
    """'1,2,3;4,5,6' of two colors."""
    return ";".join(",".join(map(str, color)) for color in some)


def ranges(values) -> str:
    """'1-3,7' of 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p)) for p in parts)


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        low, dash, high = part[1:].partition("-")
        try:
            first = int(part[0] + low)
            last = int(high) if dash else first
        except ValueError:
            raise ValueError(f"--{flag} {text}: expected numbers as 1,2 or 128-255") from None
        if first < -1 or not first <= last <= 2**31 or last - first > 65535:
            raise ValueError(f"--{flag} {text}: {part} is no range of values")
        found += range(first, last + 1)
    return tuple(found)
