"""Frozen ImageNet features, fitted to the support in closed form: nothing is trained.

Cells of several strides are compared with the support's nearest cells, and scored by a ridge
regression. How much each counts, and how rare object cells are, the supports decide: each is scored
by the others. A query's mask is the one whose IoU is expected to be highest. See docs/photographs.md.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fss_jax.data import imaging
from fss_jax.methods import backbones
from fss_jax.methods.backbones.efficientnet_lite import STRIDES, EfficientNetLite
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.contract import Method
from fss_jax.methods.heads import (
    expected_iou,
    leave_one_out,
    neighbors,
    reliability,
    ridge,
    subspaces,
)
from fss_jax.methods.layers import grid as cells
from fss_jax.methods.layers.guided_filter import guided_filter
from fss_jax.methods.layers.resizing import resize

Features = Mapping[str, Array]  # of an image, by the backbone's names of its levels
Task = dict[str, Any]
HEADS = ("neighbors", "ridge")
SURE = 9.0  # the largest logit
FINER = 2  # a mask is judged and cut on a grid so many times as fine: a thin thing fills no cell
RECORDED = (
    64  # supports of which a task tells each one's agreement with the others; more if there are
)


class Backbone(NamedTuple):
    """A network and what is compared of it.

    Attributes:
      network: to be called with its compute type.
      levels: names of intermediates, finest first.
      wide: those of them for which the image is seen at half its size, too.
    """

    network: functools.partial
    levels: tuple[str, ...]
    wide: tuple[str, ...] = ()


_LITE = tuple(STRIDES)
BACKBONES = {
    **{
        f"efficientnet_lite{n}": Backbone(functools.partial(EfficientNetLite, n), _LITE, _LITE[-1:])
        for n in range(3)
    },
    "vgg16": Backbone(functools.partial(VGG, hidden=0), ("conv3_3", "conv4_3", "conv5_3")),
    **{
        name: Backbone(functools.partial(known.covering, width=1.0), known.compared)
        for name, known in backbones.table().items()
        if known.compared
    },
}


class Fitted(Method):
    """Few-shot segmentation on frozen features.

    `features` once an image, `fit` once a support, `answer` once a query: `condition` and `segment`
    are made of them.

    Attributes:
      backbone: a key of BACKBONES.
      wide: whether the backbone's `wide` levels are means of those of the image and of the image at
        half its size, which see twice as far around a cell.
      cell: pixels between the cells of the grid on which all levels are compared.
      components: principal components of the support's cells that are kept.
      heads: of HEADS, those that are used.
      object_cells, background_cells: of each support image that queries are compared with.
      bank: images of so many cells are compared with at most, however many supports there are.
      few: how many of the nearest cells count.
      strength: of the ridge, in units of the features' mean variance over one image.
      usual: weights of the heads, then the offset, of a support of one image; others are drawn to it.
      usual_strength: how strongly.
      unplaced: directions left out in which the cells of an image without content differ, which tell
        places, not things: some 20 of 768 for DINOv3 (INSID3); 0: none.
      unbacked: directions left out along which the support's background lies most, as a share of its
        cells: 0.005 (REBASE); 0: none.
      radius, epsilon: of the guided filter; radius 0: none. See layers.guided_filter.
      preprocessing: a key of imaging.PREPROCESSING.
      width: channel multiplier, of the backbone vgg16 only.
      dtype: compute type of the network; all after it is float32.
      axis_name: unused: nothing is trained.

    Raises:
      ValueError: an unknown name in a field.
    """

    backbone: str = "efficientnet_lite2"
    wide: bool = True
    cell: int = 8
    components: int = 192
    heads: tuple[str, ...] = HEADS
    object_cells: int = 192
    background_cells: int = 224
    bank: int = 5
    few: int = 8
    strength: float = 1.2
    usual: tuple[float, ...] = (1.05, 1.8, -1.8)
    usual_strength: float = 0.1
    unplaced: int = 0
    unbacked: float = 0.0
    radius: int = 16
    epsilon: float = 3e-4
    preprocessing: str = "torchvision"
    width: float = 1.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    trained = False
    any_shots = False
    takes_undecided = True
    in_parts = True
    toy = {"components": 32, "object_cells": 32, "background_cells": 32}

    def setup(self):
        if self.backbone not in BACKBONES:
            known = ", ".join(BACKBONES)
            raise ValueError(f"backbone {self.backbone!r}: choose one of {known}")
        unknown = set(self.heads) - set(HEADS)
        if unknown or not self.heads:
            raise ValueError(f"heads {self.heads!r}: choose of {', '.join(HEADS)}")
        own = {"width": self.width} if self.backbone == "vgg16" else {}
        self.network = BACKBONES[self.backbone].network(dtype=self.dtype, **own)

    @property
    def smallest(self) -> int:
        return self.cell

    # -- the three parts -------------------------------------------------------------------------

    def features(
        self, image: Float[Array, "*b h w 3"], *, train: bool = False
    ) -> dict[str, Float[Array, "*b _rows _cols _c"]]:
        """The levels of RGB images in 0..255, each cell of unit length; float16 keeps enough."""
        image = imaging.normalize(image, self.preprocessing)
        _, names, wide = BACKBONES[self.backbone]
        found = self._levels(image, names)
        if self.wide and wide:
            half = cells.resampled(image, tuple(-(-n // 2) for n in image.shape[-3:-1]))
            for name, level in self._levels(half, wide).items():
                again = cells.resampled(level, found[name].shape[-3:-1])
                found[name] = cells.unit(found[name] + again)
        return found

    def _levels(self, image: Array, names: tuple[str, ...]) -> dict[str, Array]:
        _, layers = self.network(image, train=False)
        return {name: cells.unit(layers[name].astype(jnp.float32)) for name in names}

    def fit(self, features: Features, mask: Float[Array, "b k h w"]) -> Task:
        """The task of support features [b, k, ...] and masks (1 object, 0 not, -1 undecided).

        The shapes of the task do not depend on k, if it is above 1. An image of which nothing is
        decided changes nothing, so that any number of supports fits into a few sizes that are
        compiled.
        """
        maps = [features[name].astype(jnp.float32) for name in BACKBONES[self.backbone].levels]
        # Episodes in turn: jaxlib's batched solvers can block each other (see heads.ridge).
        places = self._places(mask.shape[2:4])
        return jax.lax.map(lambda episode: self._fit(*episode, places), (maps, mask))

    def answer(
        self, task: Task, features: Features, image: Float[Array, "b q h w 3"]
    ) -> Float[Array, "b q h w"]:
        """Logits of queries whose `features` [b, q, ...] are known; the image guides their edges."""
        coarse = self.scores(task, features, image.shape[2:4])
        cut = expected_iou.cut(coarse.reshape(*coarse.shape[:2], -1))
        coarse = coarse - cut[..., None, None]
        probability = jax.nn.sigmoid(
            resize(coarse[..., None], image.shape[2:4], align_corners=False)[..., 0]
        )
        if self.radius:
            probability = guided_filter(
                image / 255.0, probability, radius=self.radius, epsilon=self.epsilon
            )
        least = 1 / (1 + math.exp(SURE))
        probability = probability.clip(least, 1 - least)
        return jnp.log(probability) - jnp.log1p(-probability)

    def scores(
        self, task: Task, features: Features, size: tuple[int, int]
    ) -> Float[Array, "b q rows cols"]:
        """Logits of the parts of an image of that `size` in pixels, FINER squared a cell."""
        maps = [features[name].astype(jnp.float32) for name in BACKBONES[self.backbone].levels]
        grid = self._grid(size)
        return jax.lax.map(lambda episode: self._scores(*episode, grid=grid), (task, maps))

    def evidence(
        self, task: Task, features: Features, size: tuple[int, int]
    ) -> dict[str, Float[Array, "b q"]]:
        """What speaks for a query's answer without its mask; see heads.reliability.Evidence."""
        scores = self.scores(task, features, size)
        return reliability.evidence(scores.reshape(*scores.shape[:2], -1))._asdict()

    def judge(
        self, task: Task, features: Features, size: tuple[int, int]
    ) -> dict[str, Float[Array, "b q"]]:
        """'present', the probability that the object is there, and 'expected_iou' of its mask if it
        is; 'found' is 0 where an empty mask is the better answer.

        Fitted on photographs (docs/photographs.md says how well); on pictures of another kind their
        order is what counts.
        """
        told = reliability.Evidence(**self.evidence(task, features, size))
        supports = task["used"].sum(-1, keepdims=True)
        agreement, peak = (
            (task[name] * task["used"]).sum(-1, keepdims=True) / jnp.maximum(supports, 1)
            for name in ("agreement", "peaks")
        )
        agreement = jnp.where(supports > 1, agreement, 0.5)  # its own IoU says nothing
        numbers = reliability.known(told, agreement, peak)
        present = reliability.judged(numbers, reliability.PRESENT, supports)
        return {
            "present": present,
            "expected_iou": reliability.judged(numbers, reliability.EXPECTED_IOU, supports),
            "found": (present >= reliability.NOT_HERE).astype(jnp.float32),
        }

    def agreement(self, task: Task) -> Float[Array, "b n"]:
        """The IoU of each support's cells as the others find them; zeros beyond the last support."""
        return task["agreement"]

    # -- the contract ----------------------------------------------------------------------------

    def condition(
        self,
        support_image: Float[Array, "b k h w 3"],
        support_mask: Float[Array, "b k h w"],
        *,
        train: bool = False,
    ) -> Task:
        """`fit` on the `features` of the support."""
        return self.fit(self.features(support_image), support_mask)

    def segment(
        self, task: Task, query_image: Float[Array, "b q h w 3"], *, train: bool = False
    ) -> Float[Array, "b q h w"]:
        """`answer` on the `features` of the queries."""
        return self.answer(task, self.features(query_image), query_image)

    # -- one episode -----------------------------------------------------------------------------

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return tuple(max(1, -(-n // self.cell)) for n in size)

    def _places(self, size: tuple[int, int]) -> Float[Array, "c s"] | None:
        """Directions in which cells of an image without content differ (INSID3), to be left out."""
        if not self.unplaced:
            return None
        blank = self.features(jnp.zeros((1, *size, 3))).values()
        x = cells.joined(list(blank), tuple(-(-n // 2) for n in self._grid(size)))[0]
        return subspaces.leading(x - x.mean(0, keepdims=True), self.unplaced)

    def _fit(
        self,
        maps: list[Float[Array, "k _h _w _c"]],
        mask: Float[Array, "k h w"],
        places: Float[Array, "c s"] | None = None,
    ) -> Task:
        grid = self._grid(mask.shape[1:])
        inside, outside = (part.reshape(len(mask), -1) for part in cells.shares(mask, grid))
        used = (inside + outside).sum(1) > 0
        number = jnp.maximum(used.sum(), 1)
        # A quarter of the cells tells the directions in which cells differ.
        half = tuple(-(-n // 2) for n in grid)
        some = cells.joined(maps, half)
        flat, kept = some.reshape(-1, some.shape[-1]), some.shape[-1]
        if places is not None:
            flat, kept = subspaces.without(flat, places), kept - places.shape[1]
        if self.unbacked:
            surrounding = cells.shares(mask, half)[1].reshape(-1)
            backs = subspaces.background(flat, surrounding, self.unbacked)
            flat, kept = subspaces.without(flat, backs), kept - backs.shape[1]
        some = flat.reshape(some.shape)
        count = jnp.where(used, 1 / number, 0.0)[:, None, None]
        mean = (some * count).mean(1).sum(0)
        some = (some - mean[None, None]) * jnp.sqrt(count)
        some = some.reshape(-1, some.shape[-1])
        spread = jnp.matmul(some.T, some, precision=ridge.HIGHEST)
        basis = jnp.linalg.eigh(spread)[1][:, -min(self.components, max(kept, 1)) :]
        task = {"basis": basis, "center": mean @ basis}
        project = functools.partial(cells.projected, basis=basis, center=task["center"], grid=grid)
        x = jax.lax.map(project, maps)

        found = {}
        if "neighbors" in self.heads:
            share = inside / jnp.maximum(inside + outside, 1e-6)
            # Where no cell is mostly object, those that are most of all.
            enough = jnp.minimum(0.5, 0.99 * share.max(1, keepdims=True))
            decided = inside + outside > 0
            object_cells = decided & (share >= enough) & (share > 0)
            banks = {}
            for side, member, count in (
                ("object", object_cells, self.object_cells),
                ("background", decided & (share <= 0.1), self.background_cells),
            ):
                # Up to half of the images may be there to fill a size only.
                most = -(-2 * self.bank * count // len(x))
                banks[side] = neighbors.collect(x, member, min(count, most))
                room = count * (self.bank if len(x) > 1 else 1)
                # A dict: what is exported is read where no Bank is known.
                task[side] = neighbors.merged(banks[side], room, number)._asdict()
            found["neighbors"] = neighbors.left_out(
                x, banks["object"], banks["background"], used, self.few
            )
        if "ridge" in self.heads:
            solved = ridge.fit(ridge.extended(x), inside, outside, self.strength)
            # The next solver starts when both of this one's have ended (see ridge.fit).
            task["ridge"], found["ridge"] = jax.lax.optimization_barrier(solved)
        scores = jnp.stack([found[head] / _UNITS[head] for head in self.heads], -1)
        usual = jnp.asarray(
            [self.usual[HEADS.index(head)] for head in self.heads] + [self.usual[-1]], jnp.float32
        )
        alone = len(x) == 1
        task["weights"] = usual
        if not alone:
            task["weights"] = leave_one_out.combine(
                scores, inside, outside, usual, self.usual_strength
            )
        logits = scores @ task["weights"][:-1] + task["weights"][-1]
        logits = self._finer(logits.reshape(len(x), *grid)).reshape(len(x), -1)
        fine = tuple(FINER * n for n in grid)
        inside, outside = (part.reshape(len(x), -1) for part in cells.shares(mask, fine))
        # What is usual of one support holds its offset already.
        tried = np.zeros(1, np.float32) if alone else leave_one_out.OFFSETS
        added, agreement = leave_one_out.offset(logits, inside, outside, tried)
        task["weights"] = task["weights"].at[-1].add(added)
        peaks = reliability.evidence(logits + added).peak
        room = (0, max(0, RECORDED - len(x)))
        for name, values in (("agreement", agreement), ("peaks", peaks), ("used", used)):
            task[name] = jnp.pad(values.astype(jnp.float32), room)
        task["shown"] = (inside.sum() > 0).astype(jnp.float32)
        return task

    def _scores(
        self, task: Task, maps: list[Float[Array, "q _h _w _c"]], grid: tuple[int, int]
    ) -> Float[Array, "q rows cols"]:
        def one(maps):  # one after another: what lies between stays in a CPU's cache
            x = cells.projected(maps, task["basis"], task["center"], grid)
            logits = task["weights"][-1]
            for n, head in enumerate(self.heads):
                if head == "neighbors":
                    sides = (neighbors.Bank(**task[side]) for side in ("object", "background"))
                    found = neighbors.score(x, *sides, self.few)
                else:
                    found = ridge.extended(x) @ task[head]
                logits = logits + task["weights"][n] / _UNITS[head] * found
            return logits

        logits = jax.lax.map(one, maps)
        logits = jnp.where(task["shown"] > 0, logits, -SURE)
        return self._finer(logits.reshape(-1, *grid))

    def _finer(self, logits: Float[Array, "n rows cols"]) -> Float[Array, "n rows2 cols2"]:
        size = tuple(FINER * n for n in logits.shape[1:])
        return resize(logits[..., None], size, align_corners=False)[..., 0]


# About the spread of each head's score, so that weights compare.
_UNITS = {"neighbors": 0.15, "ridge": 0.6}


METHOD = Fitted
