"""Scoring a method on a list of records: batched over devices, counted in exact integers."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from tqdm import tqdm

from fss_jax.data import feed
from fss_jax.data.bank import Bank, Episode, load_bank
from fss_jax.data.datasets import Split
from fss_jax.data.feature_bank import FeatureBank
from fss_jax.data.records import Records
from fss_jax.data.view import View
from fss_jax.reports import drawing
from fss_jax.runtime.devices import (
    AXIS,
    first,
    is_lead,
    join_rows,
    process_rows,
    replicate,
    shard,
)
from fss_jax.scoring import frozen, trivial
from fss_jax.scoring.metrics import confusion, iou

Predictions = dict[str, Float[Array, "b q S T"]]


def predict(
    model: nn.Module, variables: Any, episode: Episode, view: View
) -> Float[Array, "b q S T"]:
    """A method's logits for a batch of episodes, at the size that is scored."""
    logits = model.apply(
        variables, episode.support_image, episode.support_mask, episode.query_image
    )
    return view.to_score(logits, episode.query_size)


def predict_trivial(
    model: nn.Module,
    variables: Any,
    episode: Episode,
    wrong: tuple[Float[Array, "b k h w 3"], Float[Array, "b k h w"]],
    view: View,
) -> Predictions:
    """The predictors of `trivial.NAMES` on the same episodes.

    `support_zeroed` and `wrong_support` run the network itself; XLA shares its query features.
    """
    zeroed = trivial.zero_support(episode, view.fill)
    logits = {
        "all_object": trivial.all_object(episode),
        "copy_support": trivial.copy_support(episode),
        "support_zeroed": model.apply(variables, *zeroed, episode.query_image),
        "wrong_support": model.apply(variables, *wrong, episode.query_image),
        "colour_histogram": trivial.colour_histogram(episode),
    }
    return {name: view.to_score(x, episode.query_size) for name, x in logits.items()}


class Evaluator:
    """A compiled evaluation of one model under one protocol, used again for every checkpoint.

    Args:
      batch: episodes per device and call.
      with_trivial: also counts the trivial predictors.
    """

    def __init__(
        self,
        model: nn.Module,
        view: View,
        devices: list[jax.Device],
        *,
        batch: int,
        with_trivial: bool,
    ):
        self.model = model
        self.devices, self.batch, self.with_trivial = devices, batch, with_trivial

        def count(variables, bank, support, query, wrong):
            episode = view.episode(bank, support, query)
            predictions = {"method": predict(model, variables, episode, view)}
            if with_trivial:
                other = view.episode(bank, wrong, query)
                supports = (other.support_image, other.support_mask)
                predictions |= predict_trivial(model, variables, episode, supports, view)
            return {
                name: confusion(logits > 0, episode.query_mask, episode.query_valid)
                for name, logits in predictions.items()
            }

        def show(variables, bank, support, query):
            episode = view.episode(bank, support, query)
            return episode, predict(model, variables, episode, view)

        self._count = jax.pmap(count, axis_name=AXIS, devices=devices)
        self._show = jax.jit(show)

    def counts(
        self, variables: Any, bank: Bank | FeatureBank, records: Records, progress: str = ""
    ) -> dict[str, np.ndarray]:
        """int64 [N, Q, 4] confusion counts of every predictor, in record order.

        Every process counts its share of the records and knows all counts in the end.

        Args:
          variables, bank: replicated over the devices.
          progress: label of the progress bar; none if empty.
        """
        wrong = trivial.wrong_supports(records) if self.with_trivial else records.support
        return self._count_columns(
            variables, bank, [records.support, records.query, wrong], progress
        )

    def _count_columns(self, variables, bank, columns, progress):
        return count_rows(
            lambda *rows: self._count(variables, bank, *rows),
            columns,
            self.devices,
            self.batch,
            progress,
        )

    def score(
        self,
        variables: Any,
        split: Split,
        config: ConfigDict,
        records: Records,
        progress: str = "",
    ) -> tuple[dict[str, np.ndarray], float]:
        """`counts`, on banks of just the images that the records use, one after another if need be.

        Where the config asks for features of a frozen backbone they stand for the images, unless the
        trivial predictors are wanted, which change the images.

        Args:
          variables: replicated over the devices.

        Returns:
          The counts, and the seconds they took without decoding images.
        """
        columns = [records.support, records.query]
        columns += [trivial.wrong_supports(records) if self.with_trivial else records.support]
        images = split.item_image[np.concatenate(columns, 1)]
        features = None
        if frozen.wanted(config) and not self.with_trivial:
            features = frozen.features_of(config, self.model, first(variables), split)
        load = features.bank if features else load_bank
        found: dict[str, list[np.ndarray]] = {}
        seconds = 0.0
        most = feed.most_images(config, self.devices[0], features)
        for rows, needed in feed.parts(images, most):
            bank = replicate(load(split, config.canvas, needed), self.devices)
            before = time.perf_counter()
            counts = self._count_columns(variables, bank, [c[rows] for c in columns], progress)
            seconds += time.perf_counter() - before
            for name, values in counts.items():
                found.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in found.items()}, seconds

    def show(self, variables: Any, bank: Bank, records: Records) -> tuple[Episode, np.ndarray]:
        """The pixels and logits of a few records, for pictures (unreplicated arguments)."""
        episode, logits = self._show(variables, bank, records.support, records.query)
        return jax.tree.map(np.asarray, episode), np.asarray(logits)

    def draw(
        self,
        path: Path,
        variables: Any,
        bank: Bank,
        records: Records,
        split: Split,
        titles: Sequence[str] | None = None,
    ) -> None:
        """`show` as a picture, a row a record; see `drawing.contact_sheet`."""
        episode, logits = self.show(variables, bank, records)
        counts = confusion(logits[:, 0] > 0, episode.query_mask[:, 0], episode.query_valid[:, 0])
        ious = iou(np.asarray(counts))
        drawing.contact_sheet(path, episode, logits, records, split, ious, titles)


def count_rows(
    count: Callable[..., dict[str, Array]],
    columns: Sequence[np.ndarray],
    devices: list[jax.Device],
    batch: int,
    progress: str = "",
) -> dict[str, np.ndarray]:
    """int64 [N, ...]: what `count` makes of N rows, in their order; see `Evaluator.counts`.

    Args:
      count: pmapped, takes each column as [devices, batch, ...] and returns arrays like it.
      columns: arrays [N, ...].
      batch: rows per device and call; the last call is padded and its surplus dropped.
    """
    total = len(columns[0])
    share = process_rows(total)
    step = len(devices) * batch
    parts: dict[str, list[np.ndarray]] = {}
    hidden = not progress or not is_lead()
    with tqdm(total=len(share), desc=progress, unit="ep", disable=hidden) as bar:
        for start in range(0, len(share), step):
            rows = share[np.minimum(np.arange(start, start + step), len(share) - 1)]
            call = tuple(
                column[rows].reshape(len(devices), batch, *column.shape[1:]) for column in columns
            )
            for name, counts in count(*shard(call, devices)).items():
                parts.setdefault(name, []).append(np.asarray(counts))
            bar.update(min(step, len(share) - bar.n))
    mine = {
        name: np.concatenate(chunks).reshape(-1, *chunks[0].shape[2:])[: len(share)]
        for name, chunks in parts.items()
    }
    return {name: join_rows(counts)[:total].astype(np.int64) for name, counts in mine.items()}


def flat_counts(counts: np.ndarray, records: Records, item_image: np.ndarray) -> tuple:
    """(counts [N*Q, 4], class ids, query images) as `metrics.score` takes them."""
    queries = records.query.shape[1]
    return (
        counts.reshape(-1, 4),
        np.repeat(records.class_id, queries),
        item_image[records.query.reshape(-1)],
    )
