"""Fixed test lists of published protocols other than OSLSM's own (which is in `episodes`)."""

from collections.abc import Sequence

import numpy as np

from fss_jax.episodes import Item, Records


def _members(items: Sequence[Item], needed: int) -> dict[int, list[int]]:
    """Item indices of each class, in image order."""
    members: dict[int, list[int]] = {}
    for i in sorted(range(len(items)), key=lambda i: items[i]):
        members.setdefault(items[i][1], []).append(i)
    short = [f"class {c} has {len(m)}" for c, m in members.items() if len(m) < needed]
    if short or not members:
        raise ValueError(
            f"the list needs {needed} images of every class, but {', '.join(short[:3]) or 'none is'}"
            f"{f' and {len(short) - 3} more' if len(short) > 3 else ''}; lower the shots"
        )
    return members


def first_images(items: Sequence[Item], shots: int, queries: int) -> Records:
    """FSS-1000's evaluation: a class's first images are the support, the next ones the queries.

    The recovered script takes the first five and the next five in directory order (protocols.md
    B.5), which depends on the disk; ours is by number. The queries are the same for every number of
    shots up to five; with more, the first ones become supports.
    """
    start = max(5, shots)
    queries = max(1, queries + 5 - start)
    rows = [
        (c, m[:shots], m[start : start + queries])
        for c, m in _members(items, start + queries).items()
    ]
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


def hsnet_fss(items: Sequence[Item], shots: int, *, repeats: bool, seed: int = 0) -> Records:
    """HSNet's FSS-1000 test list: every image of a class once a query (protocols.md B.5).

    Its draws are numpy's legacy stream under seed 0. Classes go by name, images by file name as
    text (1, 10, 2 ...), and a support is any image of the class but the query.

    Args:
      items: image ids are CLASS/NN, so that sorting them gives classes by name, images by number.
      repeats: supports may repeat, as released; False draws them anew until all differ.
    """
    generator = np.random.RandomState(seed)
    rows = []
    for members in sorted(_members(items, shots + 1).values(), key=lambda m: items[m[0]][0]):
        for query in sorted(range(len(members)), key=lambda i: str(i + 1)):
            support: list[int] = []
            while len(support) < shots:
                drawn = int(generator.choice(len(members), 1, replace=False)[0])
                if drawn != query and (repeats or drawn not in support):
                    support.append(drawn)
            rows.append((items[members[query]][1], [members[i] for i in support], [members[query]]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))
