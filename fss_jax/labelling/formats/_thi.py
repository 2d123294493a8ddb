"""Label Studio's run-length code of brush masks, which is that of the library thi.ng/rle-pack.

A stream of bits: 32 for the number of values, 5 for the bits of a value less one, 4 times 4 for the
bits of four lengths less one; then, until all values are there: one bit (1: a run of one value, 0:
single values), 2 for which of the four lengths, the length less one, and the value or values. The
values are the bytes of an RGBA picture, of which alpha is the mask.
"""

from typing import Any

import numpy as np

LENGTHS = (3, 4, 8, 16)
CHANNELS = 4


def decode(code: Any, height: int, width: int) -> np.ndarray:
    """The mask of a code, bool [height, width].

    Raises:
      ValueError: damaged, or for another size.
    """
    try:
        data = bytes(code)
    except (TypeError, ValueError):
        raise ValueError("a brush whose rle is no list of bytes") from None
    at, end = 0, 8 * len(data)

    def take(count: int) -> int:
        nonlocal at
        if at + count > end:
            raise ValueError("a brush mask is cut short")
        first, last = at >> 3, (at + count + 7) >> 3
        value = int.from_bytes(data[first:last], "big") >> (8 * last - at - count)
        at += count
        return value & ((1 << count) - 1)

    total, bits = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    if total != CHANNELS * height * width:
        raise ValueError(
            f"a brush mask holds {total // CHANNELS} pixels; its image has {height} x {width}"
        )
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        same, count = take(1), take(lengths[take(2)]) + 1
        count = min(count, total - done)
        if same:
            values[done : done + count] = take(bits) & 255
        else:
            if at + count * bits > end:
                raise ValueError("a brush mask is cut short")
            values[done : done + count] = [take(bits) & 255 for _ in range(count)]
        done += count
    return values.reshape(height, width, CHANNELS)[..., 3] >= 128


def encode(mask: np.ndarray) -> list[int]:
    """The code of a mask, bool [H, W], as bytes."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    ends = np.append(starts[1:], flat.size)
    parts = [f"{CHANNELS * flat.size:032b}{7:05b}", *(f"{n - 1:04b}" for n in LENGTHS)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        value, left = f"{255 * int(flat[start]):08b}", CHANNELS * (end - start)
        while left:
            kind = next((i for i, n in enumerate(LENGTHS) if left <= 1 << n), 3)
            count = min(left, 1 << LENGTHS[kind])
            parts.append(f"1{kind:02b}{count - 1:0{LENGTHS[kind]}b}{value}")
            left -= count
    text = "".join(parts)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
