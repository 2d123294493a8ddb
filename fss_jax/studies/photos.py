"""Photographs: how good are masks after a few examples, on any folder of photographs with masks?

  fss study photos --data DIR --out docs/results/photos_fitted.json

DIR holds SET/CLASS/{n}.jpg and {n}.png (object above 127). Of each class a seeded draw takes the
supports, and other pictures as queries; nothing is trained, and no threshold sees a query. Scores
are means over images, then classes, then sets, at each picture's own size. Pictures of other sets
that cannot show the class (FAR) tell how often something is found that is not there.
"""

import argparse
import copy
import functools
import logging
import time
import types
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from data_builders import masks
from fss_jax import Segmenter, weights
from fss_jax.methods.fitted import Fitted
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments, messages
from fss_jax.runtime.files import write_json
from fss_jax.studies import photos_baselines
from fss_jax.studies.photos_scores import boundary_iou, iou, tables
from fss_jax.studies.photos_sheets import Sheets

log = logging.getLogger(__name__)

SKIP = "conv_head,head_bn,fc,fc6,fc7,fc8"  # classifiers, which no feature comes from
# Sets of which none shows what another's classes are; a street's cars are also a car part's.
FAR = ("butterflies", "cropweed", "desk", "mug", "tiles")
ABSENT = 2  # pictures without the class that each class is tried on
# The method without one of its parts, or with one alone.
ABLATION = {
    "neighbors alone": {"heads": ("neighbors",)},
    "ridge alone": {"heads": ("ridge",)},
    "without the guided filter": {"radius": 0},
}


class Photo(NamedTuple):
    """A picture with its mask: SET/CLASS/NAME under the folder of data."""

    folder: Path
    set: str
    name: str

    @property
    def image(self) -> Path:
        return self.folder / f"{self.name}.jpg"

    def rgb(self) -> Image.Image:
        with Image.open(self.image) as file:
            return file.convert("RGB")

    def mask(self) -> np.ndarray:
        return masks.read_mask(self.folder / f"{self.name}.png")


def find(data: Path) -> dict[str, list[Photo]]:
    """The pictures of each 'SET/CLASS' that has two or more.

    Raises:
      ValueError: the folder holds none.
    """
    classes = {}
    for folder in sorted(path for path in data.glob("*/*") if path.is_dir()):
        names = sorted(p.stem for p in folder.glob("*.png") if p.with_suffix(".jpg").is_file())
        if len(names) > 1:
            set_name = folder.parent.name
            classes[f"{set_name}/{folder.name}"] = [Photo(folder, set_name, n) for n in names]
    if not classes:
        raise ValueError(f"{data}: no SET/CLASS/{{n}}.jpg with {{n}}.png beside it")
    return classes


def draw(
    name: str, photos: list[Photo], shots: int, queries: int, seed: int, held: int = 0
) -> tuple[list[Photo], list[Photo]]:
    """(supports, queries) of a class; fewer supports are the first of more.

    Args:
      held: so many pictures are supports of some draw, and no query; 0: five, if there are more.
    """
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(photos))
    held = max(shots, held or min(5, len(photos) - 1))
    chosen = [photos[i] for i in order]
    return chosen[:shots], chosen[held : held + queries]


def draws(
    name: str,
    photos: list[Photo],
    shots: Iterable[int],
    queries: int,
    seed: int,
    leave_one_out: bool = False,
) -> Iterator[tuple[list[Photo], list[Photo]]]:
    """A class's (supports, queries): of each number of supports that it has pictures for.

    All numbers of supports are asked the same queries.

    Args:
      leave_one_out: each picture is asked with all others as supports, instead.
    """
    if leave_one_out:
        yield from ((photos[:i] + photos[i + 1 :], [photo]) for i, photo in enumerate(photos))
        return
    counts = [count for count in shots if count < len(photos)]
    held = max([*counts, min(5, len(photos) - 1)])
    for count in counts:
        yield draw(name, photos, count, queries, seed, held)


class Engine:
    """The method with its weights, compiled; features of a picture are computed once.

    Attributes:
      size: the side in pixels that every picture is stretched to.
    """

    def __init__(self, model: Fitted, init: str, size: int = 512):
        self.model, self.size = model, size
        image = jnp.zeros((1, 1, size, size, 3))
        variables = jax.eval_shape(model.init, jax.random.key(0), image, image[..., 0], image)
        skip = [name for name in SKIP.split(",") if name in _layers(init)]
        self.variables, _ = weights.load(init, variables, skip)
        self._known: dict[Path, dict[str, np.ndarray]] = {}
        self._compile()

    def _compile(self) -> None:
        def call(method, *args):
            return self.model.apply(self.variables, *args, method=method)

        self._features = jax.jit(functools.partial(call, "features"))
        self.fit = jax.jit(functools.partial(call, "fit"))
        self.answer = jax.jit(functools.partial(call, "answer"))
        side = (self.size, self.size)
        self._told = jax.jit(
            lambda task, f: call("evidence", task, f, side) | call("judge", task, f, side)
        )

    def but(self, **fields) -> "Engine":
        """The method with other fields on the same features, which both keep together."""
        other = copy.copy(self)
        other.model = self.model.clone(**fields)
        other._compile()
        return other

    def pixels(self, photo: Photo) -> np.ndarray:
        small = photo.rgb().resize((self.size, self.size), Image.BILINEAR)
        return np.asarray(small, np.float32)

    def knows(self, photo: Photo) -> bool:
        """Whether its features were computed already."""
        return photo.image in self._known

    def features(self, photo: Photo) -> dict[str, np.ndarray]:
        """[1, 1, ...] of each level, kept as float16."""
        if photo.image not in self._known:
            found = self._features(jnp.asarray(self.pixels(photo)[None, None]))
            self._known[photo.image] = {k: np.asarray(v, np.float16) for k, v in found.items()}
        return self._known[photo.image]

    def task(self, photos: Iterable[Photo]):
        photos = list(photos)
        known = [self.features(photo) for photo in photos]
        features = {name: np.concatenate([f[name] for f in known], 1) for name in known[0]}
        # A pixel of the stretched mask can be part object.
        side = (self.size, self.size)
        masks = [
            np.asarray(Image.fromarray(p.mask().astype(np.float32)).resize(side, Image.BOX))
            for p in photos
        ]
        return self.fit(features, jnp.asarray(np.stack(masks)[None]))

    def told(self, task, photo: Photo) -> dict[str, float]:
        """What speaks for a picture's mask, and what the method makes of that."""
        return {k: float(v[0, 0]) for k, v in self._told(task, self.features(photo)).items()}

    def logits(self, task, photo: Photo, shape: tuple[int, int]) -> np.ndarray:
        """At the picture's own size."""
        pixels = jnp.asarray(self.pixels(photo)[None, None])
        found = np.asarray(self.answer(task, self.features(photo), pixels))[0, 0]
        return np.asarray(Image.fromarray(found).resize(shape[::-1], Image.BILINEAR))


def _layers(init: str) -> set[str]:
    return {name.split("/")[1] for name in weights.read(init).leaves}


def rows(
    engine: Engine,
    data: Path,
    *,
    shots: Iterable[int],
    queries: int,
    seed: int,
    classes: int = 0,
    baselines: bool = False,
    ablation: bool = False,
    leave_one_out: bool = False,
    sheets: Sheets | None = None,
    trained: Mapping[str, Segmenter] = types.MappingProxyType({}),
) -> Iterator[dict]:
    """One row a picture: its scores and what was known without its mask.

    Args:
      shots, leave_one_out: see `draws`.
      classes: of each set, at most so many (a seeded draw); 0: all.
      baselines: whether to score `photos_baselines`, too.
      ablation: whether to score ABLATION, too.
      sheets: is shown every mask.
      trained: other methods to score, too, by what they are called.
    """
    found, taken = find(data), {}
    names = sorted(found)
    np.random.default_rng(seed).shuffle(names)
    if classes:
        names = [
            n
            for n in names
            if taken.setdefault(n.split("/")[0], []).append(n) is None
            and len(taken[n.split("/")[0]]) <= classes
        ]
    last = {name: draw(name, found[name], 1, queries, seed)[1] for name in names}
    variants = {n: engine.but(**of) for n, of in ABLATION.items()} if ablation else {}
    for name in tqdm(names, desc="photos", unit="class"):
        set_name = name.split("/")[0]
        others = [
            photo
            for other, photos in last.items()
            if (of := other.split("/")[0]) != set_name and (set_name in FAR or of in FAR)
            for photo in photos[:1]
        ]
        near = [
            photo
            for other, photos in last.items()
            if other != name and other.split("/")[0] == set_name == "butterflies"
            for photo in photos[:1]  # one kind a picture
        ]
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 1])
        for supports, asked in draws(name, found[name], shots, queries, seed, leave_one_out):
            count = len(supports)
            for photo in supports:
                engine.features(photo)
            began = time.perf_counter()
            task = jax.block_until_ready(engine.task(supports))
            common = {"fit_seconds": time.perf_counter() - began}
            tasks = {n: other.task(supports) for n, other in variants.items()}
            seeing = {n: other for n, other in trained.items() if _show(other, supports)}
            common |= {"set": set_name, "class": name.split("/")[1], "shots": count}
            agreement, peaks = (np.asarray(task[n])[0, :count] for n in ("agreement", "peaks"))
            common["agreement"] = float(np.mean(agreement))
            common["support_peak"] = float(np.mean(peaks))
            common["least_support_peak"] = float(np.min(peaks))
            absent = [("far", others[i]) for i in rng.permutation(len(others))[:ABSENT]]
            absent += [("near", near[i]) for i in rng.permutation(len(near))[:ABSENT]]
            for kind, photo in [*(("present", photo) for photo in asked), *absent]:
                new, began = not engine.knows(photo), time.perf_counter()
                engine.features(photo)
                known = time.perf_counter()
                row = common | {"picture": photo.name, "kind": kind} | engine.told(task, photo)
                if kind == "present":
                    truth = photo.mask()
                    mask = engine.logits(task, photo, truth.shape) > 0
                    row["mask_seconds"] = time.perf_counter() - known
                    if new:
                        row["features_seconds"] = known - began
                    row |= {
                        "iou": iou(mask, truth),
                        "boundary_iou": boundary_iou(mask, truth),
                        "share": float(truth.mean()),
                    }
                    if sheets is not None:
                        sheets.add(count, row["iou"], photo, mask)
                    beside = {
                        n: other.logits(tasks[n], photo, truth.shape) > 0
                        for n, other in variants.items()
                    }
                    for n in trained:
                        nothing = np.zeros(truth.shape, bool)
                        beside[n] = (
                            seeing[n].predict(photo.image)[0].mask if n in seeing else nothing
                        )
                    if baselines:
                        beside |= photos_baselines.masks(supports, photo, truth)
                    if beside:
                        row["beside"] = {n: iou(other, truth) for n, other in beside.items()}
                yield row


def _show(segmenter: Segmenter, supports: list[Photo]) -> bool:
    """Whether it sees the objects: some are too small for a network of few pixels."""
    images = [np.asarray(photo.rgb()) for photo in supports]
    try:
        segmenter.set_support(images, [photo.mask().astype(np.uint8) for photo in supports])
    except ValueError as e:
        log.warning("%s: %s", supports[0].folder, e)
        return False
    return True


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="SET/CLASS/{n}.jpg and {n}.png")
    arguments.add(parser, "--out", type=Path)
    arguments.add(parser, "--shots", nargs="+", default=[5, 1])
    parser.add_argument(
        "--leave_one_out", action="store_true", help="each picture by all others of its class"
    )
    parser.add_argument("--queries", type=int, default=6, help="pictures of a class at most")
    parser.add_argument("--classes", type=int, default=0, help="of a set at most; 0: all")
    arguments.add(parser, "--seed")
    parser.add_argument("--size", type=int, default=512, help="side that pictures are stretched to")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--heads", nargs="+", help="default: all")
    parser.add_argument("--baselines", action="store_true", help="score trivial answers, too")
    parser.add_argument(
        "--ablation", action="store_true", help="score the method without its parts, too"
    )
    parser.add_argument(
        "--beside", metavar="WORKDIR", nargs="+", default=[], help="score trained runs, too"
    )
    parser.add_argument("--sheets", type=Path, help="folder for pictures of best, median, worst")
    parser.add_argument("--radius", type=int, help="of the guided filter; 0: none")
    parser.add_argument(
        "--narrow", action="store_true", help="without features of the picture at half its size"
    )


def run(given: argparse.Namespace) -> None:
    messages.use_compilation_cache()
    fields = {"backbone": given.backbone}
    if given.heads:
        fields["heads"] = tuple(given.heads)
    if given.radius is not None:
        fields["radius"] = given.radius
    if given.narrow:
        fields["wide"] = False
    engine = Engine(Fitted(**fields), f"pip:{given.backbone}", given.size)
    sheets = Sheets() if given.sheets else None
    found = list(
        rows(
            *(engine, given.data),
            shots=given.shots,
            queries=given.queries,
            seed=given.seed,
            classes=given.classes,
            baselines=given.baselines,
            ablation=given.ablation,
            leave_one_out=given.leave_one_out,
            sheets=sheets,
            trained={str(run): Segmenter.from_checkpoint(run) for run in given.beside},
        )
    )
    if sheets:
        sheets.write(given.sheets)
    result = {"model": fields, "size": given.size, "seed": given.seed, **tables(found)}
    result |= {**provenance(), "rows": found}
    if given.out:
        write_json(given.out, result)
    for name, table in result.get("beside", {}).items():
        print(f"{name}: " + ", ".join(f"{k} {100 * of['mean']:.1f}" for k, of in table.items()))
    for k, table in result["iou"].items():
        line = "  ".join(f"{name} {100 * value:.1f}" for name, value in table.items())
        print(f"{k} supports: {line}")
    for k, table in result["by_size"].items():
        line = "  ".join(
            f"{name} {100 * v['iou']:.1f} ({v['pictures']})" for name, v in table.items()
        )
        print(f"{k} supports, by size (pictures): {line}")
    for k, table in result["said_absent"].items():
        line = "  ".join(f"{name} {100 * value:.0f}%" for name, value in table.items())
        print(f"{k} supports, said not to be there: {line}")
    for k, table in result["seconds"].items():
        print(f"{k} supports: " + ", ".join(f"{of} {v:.3f} s" for of, v in table.items()))
    for k, table in result.get("common", {}).items():
        print(f"{k} supports, classes that have enough for all: {100 * table['mean']:.1f}")
