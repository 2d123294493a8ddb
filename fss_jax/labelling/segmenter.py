"""Finds in any images what a few masked examples show:

from fss_jax import Segmenter
segmenter = Segmenter.from_checkpoint("runs/mine")
segmenter.set_support(["a.jpg", "b.jpg"], ["a.png", "b.png"])
for found in segmenter.predict(["c.jpg", "d.jpg"]):
    found.mask, found.probability
"""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import scipy.special
from ml_collections import ConfigDict
from PIL import Image

from fss_jax import configs, methods, weights
from fss_jax.data import bank as banks
from fss_jax.data.imaging import VOID
from fss_jax.data.view import View
from fss_jax.labelling import engine, pictures, tiles
from fss_jax.labelling.feature_cache import FeatureCache
from fss_jax.labelling.pictures import Source
from fss_jax.labelling.prediction import ONLY, Judgement, Prediction
from fss_jax.runtime import checkpoints
from fss_jax.scoring import calibration, protocols
from fss_jax.scoring.calibration import Calibration

TILE = 4096  # pixels
DOUBTFUL = 0.05  # IoU of a support as the others find it
DEFAULT = "fitted/efficientnet_lite2"  # a config that needs no training


class Segmenter:
    """A trained method with the supports it was shown. Pixels take the path they took in training.

    Whatever its size, an image goes to the device on one canvas, so that little is compiled.

    Attributes:
      doubts: what looks wrong about the supports that were set last, a line each.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: Any,
        view: View,
        *,
        batch: int = 8,
        tile: int = TILE,
        calibration: Calibration | None = None,
        cache: FeatureCache | None = None,
    ):
        """Wraps a method; `default` and `from_checkpoint` are the usual ways.

        Args:
          batch: canvases per call of the device.
          tile: an image with a longer side (pixels) is cut into overlapping tiles of this side, so
            that the network sees its details.
          calibration: what the network's confidence means; see `Prediction.expected_iou`.
          cache: keeps the features of pictures, for methods that declare theirs.

        Raises:
          ValueError: a batch or tile that is none.
        """
        if batch < 1 or tile < 16:
            raise ValueError(f"batch {batch}, tile {tile}: expected at least 1 and 16 pixels")
        self.view, self.batch, self.tile = view, batch, tile
        self._model, self._variables = model, jax.device_put(variables)
        self._calibration = calibration
        self._tasks: dict[str, Any] = {}
        self._supports: dict[str, int] = {}
        self._digest = hashlib.sha256()
        self.doubts: list[str] = []
        self._engine = engine.of(model, self._variables, view, batch, cache)

    @classmethod
    def from_checkpoint(
        cls,
        workdir: str | Path,
        checkpoint: str = "best",
        *,
        batch: int = 8,
        tile: int = TILE,
        cache: FeatureCache | None = None,
    ) -> "Segmenter":
        """Loads what `fss train` made.

        Args:
          checkpoint: 'best', 'latest', or a step.
          batch, tile, cache: as for the constructor.

        Raises:
          FileNotFoundError: the workdir holds no such checkpoint.
        """
        found = checkpoints.load(workdir, checkpoint)
        view = protocols.get(found.config.protocol).view(found.config)
        return cls(
            methods.build_from(found.config),
            found.variables,
            view,
            batch=batch,
            tile=tile,
            calibration=calibration.load(Path(workdir) / calibration.FILE, found.step),
            cache=cache,
        )

    @classmethod
    def from_config(
        cls,
        config: ConfigDict,
        init: str = "",
        *,
        workdir: str | Path | None = None,
        batch: int = 8,
        tile: int = TILE,
        cache: FeatureCache | None = None,
    ) -> "Segmenter":
        """A method that needs no training, as `from_checkpoint` one that was trained.

        Args:
          config: as `train.py` takes it, for instance of co-segmentation or 1-NN; not changed.
          init: weights in place of config.init's, such as 'workdir:runs/fcn'; see fss_jax.weights.
          workdir: where `calibrate` kept what its confidence means.
          batch, tile, cache: as for the constructor.

        Raises:
          ValueError, FileNotFoundError: weights that are not there or do not fit, or none named for a
            method that has some.
        """
        config = config.copy_and_resolve_references()
        config.init = init or config.init
        model, variables = weights.ready(config)
        known = calibration.load(Path(workdir) / calibration.FILE, 0) if workdir else None
        view = protocols.get(config.protocol).view(config)
        sizes = {"batch": batch, "tile": tile}
        return cls(model, variables, view, calibration=known, cache=cache, **sizes)

    @classmethod
    def default(
        cls, *, batch: int = 8, tile: int = TILE, cache: FeatureCache | None = None
    ) -> "Segmenter":
        """What labels photographs without any training: see docs/photographs.md.

        Raises:
          ValueError: the package of its weights is missing or was changed; naming the pip command.
        """
        return cls.from_config(configs.get(DEFAULT), batch=batch, tile=tile, cache=cache)

    @property
    def judges(self) -> bool:
        """Whether a prediction says how good it is without a calibration; see `Prediction.present`."""
        return self._model.judge is not None

    def expected_iou(self, name: str, confidence: float) -> float | None:
        """As `Prediction.expected_iou`, of a confidence with this class's present supports."""
        if self._calibration is None:
            return None
        return self._calibration.expected_iou(confidence, self._supports[name])

    @property
    def takes_undecided(self) -> bool:
        """Whether clicks and strokes are enough of a support's mask."""
        return self._model.takes_undecided

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def fingerprint(self) -> str:
        """SHA-256 of all that decides a prediction: model, weights, supports, sizes."""
        digest = self._digest.copy()
        # The text is that of earlier versions, whatever the class is called now: folders that were
        # labelled with them need not be labelled again.
        sizes = ", ".join(f"{k}={v!r}" for k, v in dataclasses.asdict(self.view).items())
        digest.update(f"({self._model!r}, Geometry({sizes}), {self.tile!r})".encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._variables):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()

    def set_support(
        self,
        images: Source | Sequence[Source] | Mapping[str, tuple],
        masks: Source | Sequence[Source] | None = None,
    ) -> None:
        """Shows the method one class, or several: a dict from class name to (images, masks).

        The supports are encoded here, once; their order does not matter.

        Args:
          images: paths, Pillow pictures or arrays (see `pictures.read_image`), or the dict.
          masks: as many, each of its image's size, in any encoding (see `pictures.read_annotation`:
            clicks and scribbles leave the rest undecided, which not every method takes).

        Raises:
          FileNotFoundError, ValueError: something that cannot be read; no support; another number of
            masks than of images; a mask of another size than its image, without an object, or mostly
            undecided before a method that needs whole masks.
        """
        if isinstance(images, Mapping) == (masks is not None):
            raise ValueError("give images and masks of one class, or one dict of several classes")
        classes = images if isinstance(images, Mapping) else {ONLY: (images, masks)}
        if not classes:
            raise ValueError("no class to look for: the dict of supports is empty")
        tasks, counts, doubts, digest = {}, {}, [], hashlib.sha256()
        for name, (some_images, some_masks) in classes.items():
            some_images, some_masks = listed(some_images), listed(some_masks)
            digest.update(repr((name, len(some_images))).encode())
            tasks[name], more = self._encode(name, some_images, some_masks, digest)
            counts[name] = len(some_images)
            doubts += more
        self._tasks, self._supports, self._digest = tasks, counts, digest
        self.doubts = doubts

    def predict(self, images: Source | Sequence[Source]) -> list[Prediction]:
        """Segments images, in order, each at its own size.

        Raises:
          FileNotFoundError, ValueError: no support was set; an image that cannot be read.
        """
        return list(self.stream(listed(images)))

    def stream(self, images: Iterable[Source]) -> Iterator[Prediction]:
        """`predict` for any number of images: one at a time is in memory at its full size."""
        if not self._tasks:
            raise ValueError("no support yet: call set_support first")
        waiting: collections.deque[_Waiting] = collections.deque()
        queue: list[tuple[_Waiting, np.ndarray, tuple[int, int]]] = []
        running: tuple[list, engine.Answer] | None = None
        for image in images:
            rgb = pictures.read_image(image)
            places = tiles.windows(rgb.shape[:2], self.tile)
            waiting.append(_Waiting(rgb.shape[:2], len(places)))
            for place in places:
                queue.append((waiting[-1], *self._lay(rgb[place])))
                if len(queue) == self._engine.rows:
                    # While the device is at these, those before are written and the next are read.
                    begun = self._begin(queue)
                    self._end(running)
                    running, queue = begun, []
            del rgb
            while waiting and waiting[0].done:
                yield self._finish(waiting.popleft())
        self._end(running)
        if queue:
            self._end(self._begin(queue))
        while waiting:
            yield self._finish(waiting.popleft())

    def _encode(self, name: str, images: list, masks: list, digest: Any) -> tuple[Any, list[str]]:
        """A class's task on the device, and what is to be doubted."""
        if not images or len(images) != len(masks):
            raise ValueError(
                f"class {name!r} has {len(images)} images and {len(masks)} masks; expected one mask "
                "for each image, and at least one"
            )
        rows, shown = [], []
        for i, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
            what = mask if isinstance(mask, str | Path) else f"mask {i} of class {name!r}"
            rgb = pictures.read_image(image)
            label = pictures.read_annotation(mask, name=str(what))
            if label.shape != rgb.shape[:2]:
                raise ValueError(
                    f"{what} is {label.shape[1]} x {label.shape[0]}, its image {rgb.shape[1]} x "
                    f"{rgb.shape[0]}; they must be equal"
                )
            if not (label == 1).any():
                raise ValueError(f"{what} is empty: no pixel is the object")
            share = np.mean(label == VOID)
            if share > 0.5 and not self.takes_undecided:
                raise ValueError(
                    f"{what} leaves {share:.0%} undecided, and {type(self._model).__name__} needs whole "
                    "masks: fill it, or use a method that takes clicks and scribbles: "
                    + ", ".join(methods.taking_undecided())
                )
            rows.append(self._lay(rgb, label))
            shown.append(what)
            for array in rows[-1][:2]:
                digest.update(np.ascontiguousarray(array).tobytes())
        canvases, labels, sizes = (np.stack(column) for column in zip(*rows, strict=True))
        task, seen = self._engine.condition(canvases, labels, sizes.astype(np.int32))
        if not np.all(seen):
            raise ValueError(
                f"{shown[int(np.argmin(seen))]} has an object too small to be seen at the "
                f"{self.view.support_size} pixels of this network; crop its image"
            )
        return task, self._too_small(labels, sizes, shown) + self._doubts(task, name, shown)

    def _too_small(self, labels: np.ndarray, sizes: np.ndarray, shown: list) -> list[str]:
        """A line about each support whose object fills no cell of what the method compares."""
        cell, side = self._model.smallest, self.view.support_size
        return [
            f"{what}: the object is smaller than a cell, {cell} x {cell} of the pixels that are seen of "
            "a picture; crop the picture around it"
            for what, label, (h, w) in zip(shown, labels, sizes, strict=True)
            if (label == 1).sum() * (side * side / (h * w) if side else 1) < cell * cell
        ]

    def _doubts(self, task: Any, name: str, shown: list) -> list[str]:
        """A line about each support whose mask the others find next to nothing of."""
        if len(shown) < 2 or self._model.agreement is None:
            return []
        found = self._model.apply(self._variables, task, method="agreement")[0, : len(shown)]
        return [
            f"{what}: the other supports of {name!r} find next to nothing of it (IoU {iou:.2f}); is "
            "its mask right, and is it the same thing?"
            for what, iou in zip(shown, np.asarray(found).tolist(), strict=True)
            if iou < DOUBTFUL
        ]

    def _lay(self, rgb: np.ndarray, label: np.ndarray | None = None) -> tuple:
        """A canvas (and that of a label map, if there is one) and the true size on it."""
        drawn = banks.lay(
            rgb, np.zeros(rgb.shape[:2], np.uint8) if label is None else label, self.view.canvas
        )
        return drawn if label is not None else (drawn[0], drawn[2])

    def _begin(self, queue: list) -> tuple[list, engine.Answer]:
        """The queued canvases with what the device is asked about them."""
        images = np.stack([canvas for _, canvas, _ in queue])
        sizes = np.asarray([size for *_, size in queue], np.int32)
        return queue, self._engine.segment(self._tasks, images, sizes)

    def _end(self, running: tuple[list, engine.Answer] | None) -> None:
        """Hands each canvas's logits to its image."""
        if running is None:
            return
        queue, answer = running[0], jax.device_get(running[1])
        for row, (image, _, (height, width)) in enumerate(queue):
            # A network that saw the whole canvas says something of the image in its corner only.
            inside = (slice(None), slice(None)) if self.view.query_size else np.s_[:height, :width]
            image.logits.append({name: x[row][inside] for name, x in answer.logits.items()})
            image.told.append(
                {
                    name: {what: float(x[row]) for what, x in told.items()}
                    for name, told in answer.told.items()
                }
            )

    def _finish(self, image: "_Waiting") -> Prediction:
        masks, probabilities, judged = {}, {}, {}
        for name in self._tasks:
            maps = [maps[name] for maps in image.logits]
            logits = tiles.blend(maps, image.shape, self.tile)
            masks[name] = logits > 0
            if name in image.told[0]:
                told = [tile[name] for tile in image.told]
                judged[name] = _joined(told, [float((x > 0).mean()) for x in maps])
                if not any(tile["found"] for tile in told):
                    masks[name] = np.zeros_like(masks[name])
            probabilities[name] = scipy.special.expit(logits, out=logits)
        return Prediction(masks, probabilities, self._supports, self._calibration, judged)


def _joined(told: list[dict[str, float]], areas: list[float]) -> Judgement:
    """Of an image by its tiles: it is there if it is in one; the mask is as good as its parts."""
    present = max(tile["present"] for tile in told)
    weights = np.asarray(areas) + 1e-6
    expected = np.average([tile["expected_iou"] for tile in told], weights=weights)
    return Judgement(present, float(expected))


@dataclasses.dataclass
class _Waiting:
    """An image whose tiles are on their way: its shape and what came back, small."""

    shape: tuple[int, int]
    count: int
    logits: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
    told: list[dict[str, dict[str, float]]] = dataclasses.field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.logits) == self.count


def listed(sources: Source | Sequence[Source]) -> list[Source]:
    """One picture or several as a list; an array [N, h, w] or [N, h, w, c] of masks or images, too.

    An array of three axes is one picture if its last axis has the length of colors.
    """
    if isinstance(sources, str | Path | Image.Image):
        return [sources]
    if isinstance(sources, np.ndarray):
        one = sources.ndim == 2 or (sources.ndim == 3 and sources.shape[-1] in (1, 3, 4))
        return [sources] if one else list(sources)
    return list(sources)
