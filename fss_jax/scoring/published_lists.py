"""Fixed test lists of published protocols other than OSLSM's own (which is in `records`)."""

from collections.abc import Sequence

import numpy as np

from fss_jax.data.records import Item, Records, TooFewImages

# Nobody published a hash: these are ours, of the lists that released code yields. SHA-256 of the text
# of each fold's episodes (see records.records_sha256), 1-shot and 5-shot in turn.
# Of OSLSM's loader: protocols.md A.8.
OSLSM_LISTS = (
    "b5433c739d1fc932affd960c36e3503d9ef5058ce86a1a56c2137dc5061af4a4",
    "8e3254b62ca0d8031e3f59f40ae4487f8329e69a4fe56d34109da9ec92aac98e",
    "13bc476f5188a907697ac646c2940e242694a751ac42233ac44b7956cabe17b0",
    "f49181c48d9dd67f2e2bccf6fb495200789ca9810cf97559ce2b60574f296a4f",
    "fee033b7246d5a9272f8e3e9ab4b59fd4bcf63602f327a91730f1eeb0ecdc82e",
    "c2368f366ee9c816e5cdda2809c354c2ba06f50df052346a450ea9d6f20d72db",
    "8ba280ee031e6cd67d75e698adf49abf7140c733e5104127bea9cd73bc2d9137",
    "1c911f27c96487ab8492c23bb5a95b4e80d039ebf8783b92bbdae360b0fcbe13",
)
# Of the items that the loader draws from, a fold each: lines `IMAGE CLASS`, sorted.
OSLSM_ITEMS = (
    "ce7e5603cb360372c8ae509d80f558226f379e0eb48d7dab9be26431665b8393",
    "da7f206d3f2404aa10be1ab09424529bebcf10c854e36316c5109d3a91faf03f",
    "2b94c2718b64b43570381ec4661af5ede92cc1a5392fb8b0de230c4d0483426e",
    "593621daf27696f7ad0f23c4f7b4a777848dd5a76c5dbe55163f3d5b2aca72bd",
)
# Of HSNet's files data/splits/pascal/val/fold?.txt, lines `IMAGE__CLASS`.
HSNET_ITEMS = (
    "748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df",
    "afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14",
    "50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb",
    "c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a",
)
# Of HSNet's files, walked as its loader does (tests/scoring/test_protocols.py does so).
HSNET_LISTS = (
    "b0c5744b9c44593a17ff1ee54d3a3482362c5de519f3b86dbb3c6a96222d330f",
    "1727516431517914ec0bd6f437b86df3e9cc8ba2d667955f85ba02d0bc57e8d7",
    "831cfb61822d3275e7d24a42fb51658f46260084277442e0df5eab3d57ad56b5",
    "183dff3d2c994b025c496732e1f4398379986c332bf70693d4616bdd642d2081",
    "3627f6c36626955b00e247b411aa10526c2a99c669b0f41f363f5917a9b87dd9",
    "e7c0abd507d81d4469d88fec6382503ab71964b607871cb5470b5bd509da10a5",
    "af931213bcda0766995725664cd12f366a318ac0b084adf59ed32b608e3ee410",
    "1e9a34e0d1848916d47b6eac079a8e7d3be3e7964257851590f9a7f36a4e59af",
)


def _members(items: Sequence[Item], needed: int) -> dict[int, list[int]]:
    """Item indices of each class, in image order."""
    members: dict[int, list[int]] = {}
    for i in sorted(range(len(items)), key=lambda i: items[i]):
        members.setdefault(items[i][1], []).append(i)
    if not members:
        raise TooFewImages("the list has no items; is the split empty or the filter too strict?")
    counts = {c: len(m) for c, m in sorted(members.items()) if len(m) < needed}
    if counts:
        short = [f"class {c} has {n}" for c, n in counts.items()]
        raise TooFewImages(
            f"the list needs {needed} images of every class, but {', '.join(short[:3])}"
            f"{f' and {len(short) - 3} more' if len(short) > 3 else ''}; lower the shots",
            counts,
            needed,
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


def hsnet_pascal(items: Sequence[Item], shots: int, count: int, seed: int = 0) -> Records:
    """HSNet's PASCAL-5i test list, exactly: items walked in order and over again (protocols.md D.1).

    A support is any other image of the class, by numpy's legacy stream; supports may repeat.

    Args:
      items: the fold's list, by image, then class.
    """
    generator = np.random.RandomState(seed)
    members = _members(items, 2)
    rows = []
    for position in range(count):
        query = position % len(items)
        class_id = items[query][1]
        rows.append((class_id, _others(generator, members[class_id], query, shots), [query]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


def hsnet_coco(items: Sequence[Item], shots: int, count: int, seed: int = 0) -> Records:
    """HSNet's COCO-20i draws: a class, a query of it, and supports, by numpy's legacy stream."""
    generator = np.random.RandomState(seed)
    members = _members(items, 2)
    class_ids = sorted(members)
    rows = []
    for _ in range(count):
        class_id = class_ids[generator.choice(len(class_ids), 1, replace=False)[0]]
        query = members[class_id][generator.choice(len(members[class_id]), 1, replace=False)[0]]
        rows.append((class_id, _others(generator, members[class_id], query, shots), [query]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


def _others(
    generator: np.random.RandomState, members: list[int], query: int, shots: int
) -> list[int]:
    support: list[int] = []
    while len(support) < shots:
        drawn = members[generator.choice(len(members), 1, replace=False)[0]]
        support += [drawn] * (drawn != query)
    return support


def canet(items: Sequence[Item], shots: int, count: int, seed: int = 0) -> Records:
    """CANet's rule: the list of items, then shuffled, then shuffled again, cut at `count`.

    Supports are other images of the class, each at most once. The release draws without a seed:
    this stream is ours.
    """
    rng = np.random.default_rng(seed)
    members = {c: np.asarray(m) for c, m in _members(items, shots + 1).items()}
    order = [np.arange(len(items)), rng.permutation(len(items)), rng.permutation(len(items))]
    rows = []
    for query in np.concatenate(order)[:count]:
        others = members[items[query][1]]
        support = rng.choice(others[others != query], shots, replace=False)
        rows.append((items[query][1], support, [query]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


def pfenet(
    items: Sequence[Item], large: np.ndarray, shots: int, count: int, seed: int = 321
) -> Records:
    """PFENet's rule: images in order and over again, one of its classes at random as the query.

    The query's object may be small as long as the image holds a large one; supports are large, and
    each is drawn at most once. The release draws in its loader's processes: this stream is ours.

    Args:
      large: bool [len(items)], the items that may be supports.
    """
    rng = np.random.default_rng(seed)
    supports = [item for item, kept in zip(items, large, strict=True) if kept]
    position = {item: i for i, item in enumerate(items)}
    members = {
        c: np.asarray([position[supports[i]] for i in m])
        for c, m in _members(supports, shots + 1).items()
    }
    by_image: dict[str, list[int]] = {}
    for i, (image_id, class_id) in enumerate(items):
        if class_id in members:
            by_image.setdefault(image_id, []).append(i)
    images, rows = list(by_image.values()), []
    for n in range(count):
        query = rng.choice(images[n % len(images)])
        others = members[items[query][1]]
        support = rng.choice(others[others != query], shots, replace=False)
        rows.append((items[query][1], support, [query]))
    return Records(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))
