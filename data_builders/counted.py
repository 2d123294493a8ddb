"""Tells TFDS's progress bar how many examples are coming."""

from collections.abc import Iterable, Iterator


class Counted:
    """An iterable of examples with a known length, so that the bar can show the time left.

    Args:
      examples: what `_generate_examples` yields.
      count: how many there will be; a guess does no harm.
    """

    def __init__(self, examples: Iterable, count: int):
        self._examples = examples
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator:
        return iter(self._examples)
