"""Episodes of several classes (C-way K-shot): drawn, gathered, segmented (PANet 4.1).

A method that knows one class at a time segments C times; a pixel belongs to the class of the largest
logit, to the background if none is positive. Others compare a pixel with all classes at once.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax.data import weak_annotation
from fss_jax.data.bank import Bank
from fss_jax.data.records import Item, TooFewImages
from fss_jax.data.view import View

NONE = -1  # an image that does not show a class


@dataclasses.dataclass(frozen=True)
class WayRecords:
    """N episodes of C classes.

    Attributes:
      items: (image id, class id) pairs that the indices below point into.
      class_id: int32 [N, C].
      support: int32 [N, C, K] item indices.
      query: int32 [N] item index, of one of the classes.
      support_items: int32 [N, C, K, C], the item of each support's image for each class, or NONE.
      query_items: int32 [N, C], the same of the query's image.
    """

    items: Sequence[Item]
    class_id: np.ndarray
    support: np.ndarray
    query: np.ndarray
    support_items: np.ndarray
    query_items: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @property
    def sha256(self) -> str:
        """Of lines 'CLASS,.. QUERY SUPPORT,..;SUPPORT,..' (image ids)."""
        text = ""
        for classes, query, support in zip(self.class_id, self.query, self.support, strict=True):
            shots = ";".join(",".join(self.items[i][0] for i in way) for way in support)
            text += f"{','.join(map(str, classes))} {self.items[query][0]} {shots}\n"
        return hashlib.sha256(text.encode()).hexdigest()


def draw(items: Sequence[Item], *, ways: int, shots: int, count: int, seed: int) -> WayRecords:
    """Episodes of classes drawn uniformly, the query from one of them, supports from other images.

    Raises:
      TooFewImages: fewer than `ways` classes have `shots` + 1 images.
    """
    members: dict[int, list[int]] = {}
    for i, (_, class_id) in enumerate(items):
        members.setdefault(class_id, []).append(i)
    usable = sorted(c for c, found in members.items() if len(found) > shots)
    if len(usable) < ways:
        raise TooFewImages(
            f"{ways} ways need as many classes of {shots + 1} images, but there are {len(usable)}; "
            "lower --ways or --shots"
        )
    position = {item: i for i, item in enumerate(items)}
    rows = []
    for n in range(count):
        rng = np.random.default_rng((seed, 3, n))
        classes = rng.choice(usable, ways, replace=False)
        query = rng.choice(members[classes[rng.integers(ways)]])
        image = items[query][0]
        support = np.asarray(
            [
                rng.choice([i for i in members[c] if items[i][0] != image], shots, replace=False)
                for c in classes
            ]
        )
        shown = [
            [[position.get((items[i][0], c), NONE) for c in classes] for i in w] for w in support
        ]
        rows.append(
            (classes, support, query, shown, [position.get((image, c), NONE) for c in classes])
        )
    return WayRecords(items, *(np.asarray(column, np.int32) for column in zip(*rows, strict=True)))


def scores(
    model: nn.Module,
    variables: Any,
    support_image: Float[Array, "b c k h w 3"],
    support_mask: Float[Array, "b c k h w"],
    others: Float[Array, "b c k h w"],
    query_image: Float[Array, "b q H W 3"],
) -> Float[Array, "b q ways H W"]:
    """A score for the background, then for each class; the largest decides.

    Args:
      support_mask: of each image's own class.
      others: 1 on the episode's other classes, which are background to a method of one class.
    """
    if model.call_ways is not None:
        mask = jnp.where(
            (support_mask <= 0) & (others > 0), weak_annotation.UNDECIDED, support_mask
        )
        method = type(model).call_ways
        return model.apply(variables, support_image, mask, query_image, method=method)
    each = [
        model.apply(variables, support_image[:, way], support_mask[:, way], query_image)
        for way in range(support_image.shape[1])
    ]
    return jnp.stack([jnp.zeros_like(each[0]), *each], 2)


def supports(
    bank: Bank,
    view: View,
    support: Int[Array, "b c k"],
    support_items: Int[Array, "b c k c"],
    query: Int[Array, "b 1"],
) -> tuple[Float[Array, "b c k h w 3"], Float[Array, "b c k h w"], Float[Array, "b c k h w"]]:
    """The supports' images, the masks of their own classes, and of the episode's other classes."""
    b, c, k = support.shape

    def shown(items, view):
        return view.episode(bank, items.reshape(b, c * k), query)

    def grouped(x):
        return x.reshape(b, c, k, *x.shape[2:])

    episode = shown(support, view)
    dense = dataclasses.replace(view, annotation="mask")
    others = jnp.zeros(support.shape + episode.support_mask.shape[2:])
    for way in range(c):
        item = support_items[..., way]
        there = (item >= 0) & (jnp.arange(c) != way)[None, :, None]
        mask = grouped(shown(jnp.maximum(item, 0), dense).support_mask)
        others = jnp.maximum(others, jnp.where(there[..., None, None], mask, 0.0))
    return grouped(episode.support_image), grouped(episode.support_mask), others


def truth(
    bank: Bank, view: View, query: Int[Array, "b 1"], query_items: Int[Array, "b c"]
) -> tuple[Float[Array, "b 1 H W 3"], Float[Array, "b c S T"], Float[Array, "b S T"], Array]:
    """Query image, the mask of each class in it, where pixels count, and its true size [b, 1, 2]."""
    masks = []
    for way in range(query_items.shape[1]):
        item = query_items[:, way : way + 1]
        mask = view.episode(bank, query, jnp.maximum(item, 0)).query_mask
        masks.append(jnp.where((item >= 0)[..., None, None], mask, 0.0)[:, 0])
    episode = view.episode(bank, query, query)
    return (
        episode.query_image,
        jnp.stack(masks, 1),
        episode.query_valid[:, 0],
        episode.query_size,
    )


def predictions(
    model: nn.Module,
    variables: Any,
    shown: tuple[Array, Array, Array],
    query_image: Float[Array, "b 1 H W 3"],
    size: Int[Array, "b 1 2"],
    view: View,
) -> dict[str, Int[Array, "b S T"]]:
    """[b, S, T] the class of each pixel (0 background), by each predictor: the method, and trivial ones.

    `ways_swapped` tells each class the support of the next one; `first_way` says it is everywhere.

    Args:
      shown: what `supports` gives.
      size: the queries' true sizes.
    """
    # Zero times what is there: XLA would evaluate a constant while compiling (see trivial.py).
    nothing = 0.0 * shown[1]
    fill = jnp.asarray(view.fill).reshape((1,) * 5 + (3,)) + 0.0 * shown[0]
    told = {
        "method": shown,
        "ways_swapped": tuple(jnp.roll(x, 1, 1) for x in shown),
        "support_zeroed": (fill, nothing, nothing),
    }
    found = {}
    for name, given in told.items():
        logits = scores(model, variables, *given, query_image)
        logits = jax.vmap(lambda x: view.to_score(x, size), 2, 2)(logits)
        found[name] = logits.argmax(2)[:, 0]
    return found | {"first_way": jnp.ones_like(found["method"])}
