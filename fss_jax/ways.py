"""Episodes of several classes (C-way K-shot): drawn, segmented, scored (PANet 4.1).

A method that knows one class at a time segments C times; a pixel belongs to the class of the largest
logit, to the background if none is positive. PANet compares a pixel with all prototypes at once.
"""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fss_jax import bank as banks
from fss_jax import evaluation, metrics, report, weak
from fss_jax.bank import Bank
from fss_jax.devices import AXIS, is_lead, local_devices, replicate
from fss_jax.episodes import Item, TooFewImages
from fss_jax.evaluation import Geometry
from fss_jax.results import fields
from fss_jax.runs import open_run, provenance, provenance_line
from fss_jax.ways_picture import contact_sheet

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
    if hasattr(model, "call_ways"):
        mask = jnp.where((support_mask <= 0) & (others > 0), weak.UNDECIDED, support_mask)
        method = type(model).call_ways
        return model.apply(variables, support_image, mask, query_image, method=method)
    each = [
        model.apply(variables, support_image[:, way], support_mask[:, way], query_image)
        for way in range(support_image.shape[1])
    ]
    return jnp.stack([jnp.zeros_like(each[0]), *each], 2)


def supports(
    bank: Bank,
    geometry: Geometry,
    support: Int[Array, "b c k"],
    support_items: Int[Array, "b c k c"],
    query: Int[Array, "b 1"],
) -> tuple[Float[Array, "b c k h w 3"], Float[Array, "b c k h w"], Float[Array, "b c k h w"]]:
    """The supports' images, the masks of their own classes, and of the episode's other classes."""
    b, c, k = support.shape

    def shown(items, geometry):
        return geometry.episode(bank, items.reshape(b, c * k), query)

    def grouped(x):
        return x.reshape(b, c, k, *x.shape[2:])

    episode = shown(support, geometry)
    dense = dataclasses.replace(geometry, annotation="mask")
    others = jnp.zeros(support.shape + episode.support_mask.shape[2:])
    for way in range(c):
        item = support_items[..., way]
        there = (item >= 0) & (jnp.arange(c) != way)[None, :, None]
        mask = grouped(shown(jnp.maximum(item, 0), dense).support_mask)
        others = jnp.maximum(others, jnp.where(there[..., None, None], mask, 0.0))
    return grouped(episode.support_image), grouped(episode.support_mask), others


def truth(
    bank: Bank, geometry: Geometry, query: Int[Array, "b 1"], query_items: Int[Array, "b c"]
) -> tuple[Float[Array, "b 1 H W 3"], Float[Array, "b c S T"], Float[Array, "b S T"], Array]:
    """Query image, the mask of each class in it, where pixels count, and its true size [b, 1, 2]."""
    masks = []
    for way in range(query_items.shape[1]):
        item = query_items[:, way : way + 1]
        mask = geometry.episode(bank, query, jnp.maximum(item, 0)).query_mask
        masks.append(jnp.where((item >= 0)[..., None, None], mask, 0.0)[:, 0])
    episode = geometry.episode(bank, query, query)
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
    geometry: Geometry,
) -> dict[str, Int[Array, "b S T"]]:
    """[b, S, T] the class of each pixel (0 background), by each predictor: the method, and trivial ones.

    `ways_swapped` tells each class the support of the next one; `first_way` says it is everywhere.

    Args:
      shown: what `supports` gives.
      size: the queries' true sizes.
    """
    # Zero times what is there: XLA would evaluate a constant while compiling (see trivial.py).
    nothing = 0.0 * shown[1]
    fill = jnp.asarray(geometry.fill).reshape((1,) * 5 + (3,)) + 0.0 * shown[0]
    told = {
        "method": shown,
        "ways_swapped": tuple(jnp.roll(x, 1, 1) for x in shown),
        "support_zeroed": (fill, nothing, nothing),
    }
    found = {}
    for name, given in told.items():
        logits = scores(model, variables, *given, query_image)
        logits = jax.vmap(lambda x: geometry.to_score(x, size), 2, 2)(logits)
        found[name] = logits.argmax(2)[:, 0]
    return found | {"first_way": jnp.ones_like(found["method"])}


def evaluate(
    workdir: str | Path,
    *,
    ways: int,
    protocol: str | None = None,
    shots: int | None = None,
    episodes: int | None = None,
    trivial: bool = True,
    device_count: int = 0,
    **opening: Any,
) -> dict:
    """Scores a checkpoint on C-way episodes; writes WORKDIR/results/PROTOCOL_Cway_Kshot.{json,md,png}.

    Sizes, void pixels and small objects are the protocol's; the list is `draw`'s, 1000 episodes under
    the protocol's seed. A class's IoU pools the pixels of all episodes that have it as a way.

    Args:
      opening: as of `runs.open_run`.

    Returns:
      What the JSON file holds; fractions in 0..1. `binary_iou` is the mean of the IoU of object (any
      way) and background.

    Raises:
      ValueError, FileNotFoundError: as `results.evaluate`.
    """
    run = open_run(workdir, protocol=protocol, **opening)
    config, data, geometry = run.config, run.data, run.geometry
    shots = shots or config.shots
    records = draw(
        data.items, ways=ways, shots=shots, count=episodes or 1000, seed=run.protocol.seed
    )
    devices = local_devices(device_count)

    def count(variables, bank, support, support_items, query, query_items):
        shown = supports(bank, geometry, support, support_items, query)
        query_image, wanted, valid, size = truth(bank, geometry, query, query_items)
        found = predictions(run.model, variables, shown, query_image, size, geometry)
        each_valid = jnp.broadcast_to(valid[:, None], wanted.shape)
        way = jnp.arange(1, ways + 1)[None, :, None, None]
        return {
            name: jnp.concatenate(
                [
                    metrics.confusion(predicted[:, None] == way, wanted, each_valid),
                    metrics.confusion(predicted > 0, wanted.max(1), valid)[:, None],
                ],
                1,
            )
            for name, predicted in found.items()
            if trivial or name == "method"
        }

    bank = banks.load_bank(data, config.canvas)
    columns = (records.support, records.support_items, records.query[:, None], records.query_items)
    pmapped = jax.pmap(count, axis_name=AXIS, devices=devices)
    placed = replicate(run.variables, devices), replicate(bank, devices)
    before = time.perf_counter()
    counts = evaluation.count_rows(
        lambda *rows: pmapped(*placed, *rows),
        columns,
        devices,
        max(1, config.eval_batch // ways),
        progress="evaluate",
    )
    seconds = time.perf_counter() - before
    image = np.repeat(data.item_image[records.query], ways)
    scored = {
        name: metrics.score(c[:, :ways].reshape(-1, 4), records.class_id.reshape(-1), image)
        for name, c in counts.items()
    }
    found = fields(scored.pop("method"), data.class_names)
    del found["fb_iou"], found["fb_iou_ci95"]  # of one class against the rest, summed over ways
    result = {
        **run.facts(),
        "ways": ways,
        "shots": shots,
        "episodes": len(records),
        "records_sha256": records.sha256,
        **found,
        "binary_iou": float(metrics.fb_iou(counts["method"][:, ways].sum(0))),
        "trivial": {name: s.miou for name, s in scored.items()} or None,
        "trivial_ci95": {name: s.miou_ci95 for name, s in scored.items()} or None,
        **provenance(),
        "seconds": seconds,
        "episodes_per_second": len(records) / seconds,
    }
    if not is_lead():
        return result
    suffix = "" if run.annotation == "mask" else f"_{run.annotation}"
    stem = run.result(f"{run.protocol.name}_{ways}way_{shots}shot{suffix}")
    report.write_json(stem.with_suffix(".json"), result)
    report.write_text(stem.with_suffix(".md"), result_table(result))

    @jax.jit
    def show(variables, bank, support, support_items, query, query_items):
        shown = supports(bank, geometry, support, support_items, query)
        query_image, wanted, _, size = truth(bank, geometry, query, query_items)
        found = predictions(run.model, variables, shown, query_image, size, geometry)
        return shown[0], shown[1], query_image, wanted, found["method"]

    order = np.argsort(-metrics.iou(counts["method"][:, :ways].sum(1)), kind="stable")
    rows = order[[0, len(order) // 2, -1]]
    names = [[data.class_names[c] for c in classes] for classes in records.class_id[rows]]
    pixels = show(run.variables, bank, *(column[rows] for column in columns))
    contact_sheet(stem.with_suffix(".png"), *pixels, names)
    return result


def result_table(result: dict) -> str:
    """A C-way result as Markdown."""
    rows = {result["method"]: (result["miou"], result["miou_ci95"])}
    for name, value in (result["trivial"] or {}).items():
        rows[name.replace("_", " ")] = (value, result["trivial_ci95"][name])
    lines = [
        f"# {result['method']}, {result['dataset']} {result['split']}, {result['ways']}-way "
        f"{result['shots']}-shot, protocol {result['protocol']}",
        "",
        "| predictor | mIoU % | 95% interval |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {100 * value:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
        for name, (value, (low, high)) in rows.items()
    ]
    lines += [
        "",
        f"Binary IoU (any class against the background) {100 * result['binary_iou']:.1f} %. "
        f"{result['episodes']} episodes, records sha256 `{result['records_sha256']}`, checkpoint step "
        f"{result['checkpoint_step']}; {provenance_line(result)}.",
        "",
        f"`{result['command']}`",
        "",
    ]
    return "\n".join(lines)
