"""What runs a method for the `Segmenter`: canvases in, tasks and logits out.

A method that is `in_parts` has the features of every picture
computed once, and kept in a `FeatureCache` if there is one; `condition` and `segment` serve the others.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fss_jax.data import weak_annotation
from fss_jax.data.bank import Bank
from fss_jax.data.imaging import VOID
from fss_jax.data.view import View
from fss_jax.labelling.feature_cache import FeatureCache

SIZES = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)  # numbers of supports that are compiled; more: multiples of the last
Tasks = Mapping[str, Any]


class Answer(NamedTuple):
    """Of some canvases; the device may still be at it, `jax.device_get` waits for it.

    Attributes:
      logits: [rows, h, w] by class; those beyond the canvases mean nothing.
      told: by class what the method's `judge` says, each [rows]; empty for a method without one.
    """

    logits: dict[str, jax.Array]
    told: dict[str, dict[str, jax.Array]]


class Engine:
    """What `Whole` and `Parts` are.

    Attributes:
      rows: canvases that one call of `segment` takes at most.
    """

    rows: int

    def condition(
        self, images: np.ndarray, labels: np.ndarray, sizes: np.ndarray
    ) -> tuple[Any, np.ndarray]:
        """The task of K canvases [k, c, c, 3] and label maps; of each whether its object was seen."""
        raise NotImplementedError

    def segment(self, tasks: Tasks, images: np.ndarray, sizes: np.ndarray) -> Answer:
        """Of at most `rows` canvases; does not wait for the device."""
        raise NotImplementedError


def of(
    model: nn.Module, variables: Any, view: View, batch: int, cache: FeatureCache | None
) -> Engine:
    """The engine that a method's declarations ask for."""
    if model.in_parts:
        return Parts(model, variables, view, batch, cache)
    return Whole(model, variables, view, batch)


class Whole(Engine):
    """By `condition` and `segment`."""

    def __init__(self, model: nn.Module, variables: Any, view: View, batch: int):
        self.rows, self._variables = batch, variables
        masks = _masks_of(model, view)

        def condition(variables, images, labels, sizes):
            episode, mask = masks(images, labels, sizes)
            task = model.apply(variables, episode.support_image, mask, method="condition")
            return task, (mask[0] > 0).any((1, 2))

        def segment(variables, tasks, images, sizes):
            query = _query(view, images, sizes)
            # XLA computes the features of the query, which all classes share, only once.
            return {
                name: model.apply(variables, task, query, method="segment")[0]
                for name, task in tasks.items()
            }

        self._condition, self._segment = jax.jit(condition), jax.jit(segment)

    def condition(self, images, labels, sizes):
        task, seen = self._condition(self._variables, images, labels, sizes)
        return task, np.asarray(seen)

    def segment(self, tasks, images, sizes):
        surplus = self.rows - len(images)
        full = (_repeated(array, surplus) for array in (images, sizes))
        return Answer(self._segment(self._variables, tasks, *full), {})


class Parts(Engine):
    """By `features`, `fit` and `answer`.

    Features are rounded to float16 before they are used, so that a kept one gives the same answer.
    """

    def __init__(
        self, model: nn.Module, variables: Any, view: View, batch: int, cache: FeatureCache | None
    ):
        # A CPU is as fast with one picture at a time, and none is computed to fill a batch.
        self.rows = 1 if jax.default_backend() == "cpu" else batch
        self._model, self._variables, self._view = model, variables, view
        self._cache = cache
        self._levels: dict[bool, dict[str, Any]] = {}
        masks = _masks_of(model, view)

        def features(variables, images, sizes, support):
            episode = _episode(view, images, sizes)
            shown = episode.support_image if support else episode.query_image
            found = model.apply(variables, shown, method="features")
            return {name: x[0].astype(jnp.float16) for name, x in found.items()}

        def fit(variables, features, labels, sizes):
            images = jnp.zeros((*labels.shape, 3), jnp.uint8)  # nothing is computed of them
            _, mask = masks(images, labels, sizes)
            one = {name: x[None] for name, x in features.items()}
            return model.apply(variables, one, mask, method="fit"), (mask[0] > 0).any((1, 2))

        def answer(variables, tasks, features, query):
            one = {name: x[None] for name, x in features.items()}
            logits, told = {}, {}
            for name, task in tasks.items():
                logits[name] = model.apply(variables, task, one, query, method="answer")[0]
                if model.judge is not None:
                    size = query.shape[2:4]
                    judged = model.apply(variables, task, one, size, method="judge")
                    told[name] = {what: x[0] for what, x in judged.items()}
            return logits, told

        self._features = jax.jit(features, static_argnums=3)
        self._fit, self._answer = jax.jit(fit), jax.jit(answer)
        # By itself: in one program with the answer, XLA on CPUs computes pixels anew wherever they
        # are used, a tenth of the whole.
        self._query = jax.jit(functools.partial(_query, view))

    @functools.cached_property
    def _network(self) -> bytes:
        """What features depend on beside pixels."""
        version = metadata.version("fss_jax")
        digest = hashlib.sha256(f"{version} {self._model!r} {self._view!r}".encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._variables):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.digest()

    def _known(self, images: np.ndarray, sizes: np.ndarray, support: bool) -> dict[str, np.ndarray]:
        """Features of canvases, as many as `rows` at once, from the cache where it has them."""
        # Supports and queries that are seen alike share what is known of them.
        support &= self._view.support_size != self._view.query_size
        found: list[dict | None] = [None] * len(images)
        keys = [""] * len(images)
        if self._cache is not None:
            like = self._shapes(support)
            for i, (image, size) in enumerate(zip(images, sizes, strict=True)):
                what = hashlib.sha256(self._network + f"{support} {size.tolist()}".encode())
                what.update(np.ascontiguousarray(image))
                keys[i] = what.hexdigest()
                found[i] = self._cache.get(keys[i], like)
        missing = [i for i, features in enumerate(found) if features is None]
        for start in range(0, len(missing), self.rows):
            some = missing[start : start + self.rows]
            surplus = self.rows - len(some)
            full = (_repeated(array[some], surplus) for array in (images, sizes))
            new = jax.device_get(self._features(self._variables, *full, support))
            for row, i in enumerate(some):
                found[i] = {name: x[row] for name, x in new.items()}
                if self._cache is not None:
                    self._cache.put(keys[i], found[i])
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def _shapes(self, support: bool) -> dict[str, Any]:
        """Of one picture's levels, in the order in which the cache holds them."""
        if support not in self._levels:
            side = self._view.canvas
            found = jax.eval_shape(
                lambda *given: self._features(*given, support),
                self._variables,
                jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8),
                jax.ShapeDtypeStruct((1, 2), jnp.int32),
            )
            self._levels[support] = {
                name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in found.items()
            }
        return self._levels[support]

    def condition(self, images, labels, sizes):
        known = self._known(images, sizes, True)
        k = len(images)
        room = next((n for n in SIZES if n >= k), -(-k // SIZES[-1]) * SIZES[-1])
        if not self._model.takes_undecided:
            room = k
        # What fills up a size is undecided everywhere: it changes nothing, and nothing is compiled
        # again for one support more.
        features = {name: _repeated(x, room - k) for name, x in known.items()}
        labels = np.concatenate([labels, np.full((room - k, *labels.shape[1:]), VOID, np.uint8)])
        task, seen = self._fit(self._variables, features, labels, _repeated(sizes, room - k))
        return task, np.asarray(seen)[:k]

    def segment(self, tasks, images, sizes):
        surplus = self.rows - len(images)
        known = self._known(images, sizes, False)
        features = {name: _repeated(x, surplus) for name, x in known.items()}
        full = (_repeated(array, surplus) for array in (images, sizes))
        return Answer(*self._answer(self._variables, tasks, features, self._query(*full)))


def _masks_of(model: nn.Module, view: View) -> Callable:
    """(images, labels, sizes) -> an episode, and its masks with what is undecided."""
    # As an object of its own; a protocol that ignores void would leave nothing of it.
    unsure = dataclasses.replace(view, void="background")

    def masks(images, labels, sizes):
        rows = jnp.arange(len(images))[None]
        bank = _bank(images, labels, sizes)
        episode = view.episode(bank, rows, rows[:, :1])
        mask = episode.support_mask
        if model.takes_undecided:
            void = bank.replace(item_value=jnp.full_like(bank.item_value, VOID))
            hidden = unsure.episode(void, rows, rows[:, :1]).support_mask
            mask = jnp.where(hidden > 0, weak_annotation.UNDECIDED, mask)
        return episode, mask

    return masks


def _query(view: View, images: Any, sizes: Any) -> jax.Array:
    """[1, n, h, w, 3]: canvases as a method sees queries."""
    return _episode(view, images, sizes).query_image


def _episode(view: View, images: Any, sizes: Any) -> Any:
    rows = jnp.arange(len(images))[None]
    return view.episode(_bank(images, jnp.zeros(images.shape[:3], jnp.uint8), sizes), rows, rows)


def _bank(images: Any, labels: Any, sizes: Any) -> Bank:
    """Canvases of one class, so that training's own gather cuts out what the method sees."""
    rows = jnp.arange(len(images))
    return Bank(images, labels, sizes, rows, jnp.ones_like(rows))


def _repeated(array: np.ndarray, more: int) -> np.ndarray:
    """The array with its last row so many times more."""
    return np.concatenate([array, np.repeat(array[-1:], more, 0)]) if more else array
