"""Records: episodes as integers. Who is support and who is query, drawn on the host, no pixels.

A record is a pure function of (items, rule, seed, position), so a list of records can be printed,
hashed, compared with a published list, and continued from any position.
"""

import dataclasses
import difflib
import hashlib
import random
from collections.abc import Mapping, Sequence

import numpy as np

Item = tuple[str, int]  # (image id, class id)


class TooFewImages(ValueError):
    """A list wants more images of a class than there are.

    Attributes:
      counts: class id -> its images, of the classes that have too few; empty if it is another lack.
      needed: how many images of a class the list takes.
    """

    def __init__(self, message: str, counts: Mapping[int, int] | None = None, needed: int = 0):
        super().__init__(message)
        self.counts, self.needed = dict(counts or {}), needed


@dataclasses.dataclass(frozen=True)
class Records:
    """N episodes over a list of items.

    Attributes:
      items: (image id, class id) pairs that the indices below point into.
      class_id: int32 [N].
      support: int32 [N, K] item indices.
      query: int32 [N, Q] item indices.
    """

    items: Sequence[Item]
    class_id: np.ndarray
    support: np.ndarray
    query: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, index: slice | np.ndarray) -> "Records":
        return Records(self.items, self.class_id[index], self.support[index], self.query[index])


def join(parts: Sequence[Records]) -> Records:
    """The episodes of several lists over the same items, one after another."""
    columns = ((part.class_id, part.support, part.query) for part in parts)
    return Records(parts[0].items, *(np.concatenate(c) for c in zip(*columns, strict=True)))


def format_records(records: Records) -> str:
    """The records as text, a line each: `CLASS QUERY[,QUERY..] SUPPORT[,SUPPORT..]` (image ids)."""

    def ids(row: np.ndarray) -> str:
        return ",".join(records.items[i][0] for i in row)

    return "".join(
        f"{c} {ids(query)} {ids(support)}\n"
        for c, query, support in zip(records.class_id, records.query, records.support, strict=True)
    )


def parse_records(text: str, items: Sequence[Item]) -> Records:
    """Reads `format_records`'s lines back.

    Raises:
      ValueError: a malformed line, an item that is not in `items`, or lines of differing shots.
    """
    position = {item: i for i, item in enumerate(items)}
    class_ids, support, query = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) != 3 or not fields[0].isdigit():
            raise ValueError(
                f"record line {number} is {line!r}; expected 'CLASS QUERY SUPPORT,SUPPORT..'"
            )
        class_id = int(fields[0])
        row = [[(image_id, class_id) for image_id in field.split(",")] for field in fields[1:]]
        for item in row[0] + row[1]:
            if item not in position:
                raise ValueError(
                    f"record line {number}: image {item[0]!r} with class {item[1]} is not among the "
                    f"{len(items)} items of this split; prepare the full dataset or drop the line"
                )
        if class_ids and (len(row[1]), len(row[0])) != (len(support[0]), len(query[0])):
            raise ValueError(
                f"record line {number} has {len(row[1])} supports and {len(row[0])} queries, the "
                f"lines before it {len(support[0])} and {len(query[0])}; keep one kind per file"
            )
        class_ids.append(class_id)
        query.append([position[item] for item in row[0]])
        support.append([position[item] for item in row[1]])
    if not class_ids:
        raise ValueError("the record list is empty; expected one episode per line")
    return Records(items, *(np.asarray(a, np.int32) for a in (class_ids, support, query)))


def records_sha256(records: Records) -> str:
    """SHA-256 of the UTF-8 text of `format_records`: the name of an exact list of episodes."""
    return hashlib.sha256(format_records(records).encode()).hexdigest()


def oslsm_test_records(
    items: Sequence[Item], *, shots: int, count: int = 1000, seed: int = 1385
) -> Records:
    """The test episodes of the released OSLSM loader, exactly (protocols.md A.8).

    Args:
      items: the (image id, class id) pairs of a fold's test set, in the order of the image list and
        ascending classes within an image; the whole list depends on them.
      shots: supports per episode.

    Raises:
      ValueError: a class has fewer than `shots + 1` items.
    """
    by_class = _items_by_class(items, needed=shots + 1)
    generator = random.Random(seed)

    def shuffle(values: list) -> None:
        # Python 2's Random.shuffle; Python 3's draws its integers differently.
        for i in reversed(range(1, len(values))):
            j = int(generator.random() * (i + 1))
            values[i], values[j] = values[j], values[i]

    order: list[int] = []
    rows = []
    for position in range(count):
        if position % len(items) == 0:
            order = list(range(len(items)))
            shuffle(order)
        query = order[position % len(items)]
        others = [i for i in by_class[items[query][1]] if i != query]
        shuffle(others)
        rows.append((items[query][1], others[:shots], [query]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


RULES = ("image_then_class", "shuffled_items", "class_uniform")


class EpisodeSampler:
    """Endless episodes, addressed by position.

    Rules, all with support (and further queries) uniform among the class's other items, without
    replacement:
      image_then_class: the image is uniform, then the class among those in it (OSLSM 4.3).
      shuffled_items: a shuffled walk over all items without replacement, shuffled anew in every epoch
        (OSLSM's released code), so images with several classes come more often.
      class_uniform: the class is uniform, then the query among its items (FSS-1000's released code).
    """

    def __init__(
        self, items: Sequence[Item], *, shots: int, queries: int = 1, rule: str, seed: int
    ):
        if rule not in RULES:
            close = difflib.get_close_matches(rule, RULES, 1)
            raise ValueError(
                f"unknown sampling rule {rule!r}; expected one of {', '.join(RULES)}"
                + (f" (did you mean {close[0]!r}?)" if close else "")
            )
        self.items, self.shots, self.queries, self.rule, self.seed = (
            items, shots, queries, rule, seed,
        )  # fmt: skip
        by_class = _items_by_class(items, needed=shots + queries)
        self._by_class = {c: np.asarray(members) for c, members in by_class.items()}
        self._classes = sorted(self._by_class)
        by_image: dict[str, list[int]] = {}
        for i, (image_id, _) in enumerate(items):
            by_image.setdefault(image_id, []).append(i)
        self._by_image = list(by_image.values())
        self._walked = -1, np.empty(0, np.int64)  # an epoch and its order

    def records(self, start: int, count: int) -> Records:
        """The episodes at positions start .. start + count - 1."""
        rows = [self._record(position) for position in range(start, start + count)]
        return Records(
            self.items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True))
        )

    def _record(self, position: int) -> tuple[int, np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, 0, position))
        if self.rule == "image_then_class":
            query = rng.choice(self._by_image[rng.integers(len(self._by_image))])
        elif self.rule == "shuffled_items":
            query = self._walk(position)
        else:
            query = rng.choice(self._by_class[self._classes[rng.integers(len(self._classes))]])
        class_id = self.items[query][1]
        members = self._by_class[class_id]
        others = rng.choice(members[members != query], self.shots + self.queries - 1, replace=False)
        return class_id, others[: self.shots], np.append(query, others[self.shots :])

    def _walk(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.items))
        walked, order = self._walked
        if epoch != walked:
            order = np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.items))
            self._walked = epoch, order  # at once: a loader's threads share the sampler
        return int(order[offset])


def _items_by_class(items: Sequence[Item], needed: int) -> dict[int, list[int]]:
    by_class: dict[int, list[int]] = {}
    for i, (_, class_id) in enumerate(items):
        by_class.setdefault(class_id, []).append(i)
    if not by_class:
        raise TooFewImages(
            "no items to draw episodes from; is the split empty or the filter too strict?"
        )
    short = {c: len(members) for c, members in by_class.items() if len(members) < needed}
    if short:
        listed = ", ".join(f"class {c} has {n}" for c, n in sorted(short.items())[:5])
        raise TooFewImages(
            f"an episode needs {needed} images of its class (supports and queries), but {listed}"
            + (f" and {len(short) - 5} more classes" if len(short) > 5 else "")
            + "; lower the shots or queries, or leave such classes out (--drop_rare_classes; in "
            "training config.drop_rare_classes)",
            short,
            needed,
        )
    return by_class
