"""FSS-1000's Table 6: time and accuracy of labelling, against GrabCut started from a box."""

import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fss_jax.data import datasets
from fss_jax.experiments.runner import Experiment, Part, Training
from fss_jax.labelling import job
from fss_jax.labelling.labels import Labels
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.pictures import read_image, read_mask
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.reports.provenance import provenance, provenance_line
from fss_jax.runtime import files
from fss_jax.runtime.devices import describe

SHARES = (0.95, 0.9, 0.8, 0.7)
MARGIN = 0.02  # of the picture's side, between the object and the box drawn around it
ITERATIONS = 5  # of GrabCut
# FSS-1000 Table 6: 500 images in seconds, and percent of them with at least these IoUs.
PUBLISHED = (
    ("a person with Photoshop", 10832.0, (100.0, 100.0, 100.0, 100.0)),
    ("a person with GrabCut", 3202.0, (71.4, 80.4, 91.0, 95.8)),
    ("their model, CPU", 553.0, (58.4, 70.4, 87.4, 90.2)),
    ("their model, GPU", 16.9, (58.4, 70.4, 87.4, 90.2)),
)


@dataclasses.dataclass(frozen=True)
class LabelTimes(Part):
    """Labels images of unseen classes with our command and with GrabCut.

    GrabCut gets the box around the true mask, a little larger; the person who would draw it costs
    nothing here. Ours gets `shots` images with masks, whose painting costs nothing either.

    Attributes:
      training: whose model; empty: what labels by default.
      dataset, split: the first `shots` images of each class are its support.
      images: labelled, drawn at random (`seed`) from all others of the classes that have enough.
    """

    training: str
    dataset: str
    split: str = "test"
    shots: int = 5
    images: int = 500  # FSS-1000 5.5
    seed: int = 0

    def shrink(self) -> "LabelTimes":
        from fss_jax.experiments import toy

        return dataclasses.replace(self, dataset=toy.DATASET, shots=1, images=2)

    def run(self, name: str, data_dir: str | Path, workdir: Path) -> str:
        """Measures, writes WORKDIR/NAME_times.json, and returns the table.

        Raises:
          ValueError: OpenCV is missing, or a class has too few images.
        """
        try:
            import cv2
        except ImportError as error:
            raise ValueError(
                f"GrabCut needs OpenCV ({error}): pip install 'fss_jax[compare]'"
            ) from error
        path = workdir / f"{name}_times.json"
        settings = dataclasses.asdict(self)
        known = json.loads(path.read_text()) if path.is_file() else {}
        if known.get("settings") != settings:
            known = {"settings": settings, "devices": {}}
        if describe() not in known["devices"]:
            segmenter = job.open_segmenter(workdir / self.training if self.training else None)
            seconds, ious = {"ours": 0.0, "grabcut": 0.0}, {"ours": [], "grabcut": []}
            split = datasets.open_split(self.dataset, self.split, str(data_dir))
            with tempfile.TemporaryDirectory() as folder:
                for place in self._classes(split, Path(folder)):
                    truths = [read_mask(path) for path in sorted((place / "truth").iterdir())]
                    for kind, found in (
                        ("ours", self._ours(segmenter, place)),
                        ("grabcut", self._grabcut(cv2, place, truths)),
                    ):
                        seconds[kind] += found[0]
                        ious[kind] += [_iou(m, t) for m, t in zip(found[1], truths, strict=True)]
            known["devices"][describe()] = {
                "seconds": seconds,
                "ious": ious,
                "opencv": cv2.__version__,
                **provenance(),
            }
            files.write_json(path, known)
        return self._table(known)

    def _classes(self, split: datasets.Split, folder: Path):
        """A folder for each class: support/{image,label}, images, truth, as a person has them."""
        by_class: dict[int, list[int]] = {}
        for i, (_, class_id) in enumerate(split.items):
            by_class.setdefault(class_id, []).append(i)
        pool = [item for members in by_class.values() for item in members[self.shots :]]
        if len(pool) < self.images:
            raise ValueError(
                f"{split.name} has {len(pool)} images beside {self.shots} supports of each class; "
                f"expected {self.images}"
            )
        drawn = set(
            np.random.default_rng(self.seed).choice(pool, self.images, replace=False).tolist()
        )
        for class_id, members in by_class.items():
            asked = [item for item in members[self.shots :] if item in drawn]
            if not asked:
                continue
            place = folder / str(class_id)
            for number, item in enumerate([*members[: self.shots], *asked]):
                image, values = split.read(int(split.item_image[item]))
                mask = values == split.item_value[item]
                support = number < self.shots
                kinds = ("support/image", "support/label") if support else ("images", "truth")
                for kind, array in zip(kinds, (image, mask), strict=True):
                    (place / kind).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(place / kind / f"{number:02d}.png")
            yield place

    def _ours(self, segmenter: Segmenter, place: Path) -> tuple[float, list[np.ndarray]]:
        """(seconds, masks) of the label command without its start: reading to contact sheet."""
        before = time.perf_counter()
        shown = {
            "object": tuple(sorted((place / "support" / k).iterdir()) for k in ("image", "label"))
        }
        names = job.find_images(place / "images")
        labels = Labels(Manifest(place / "labels"), place / "images", names, ("object",))
        segmenter.set_support(shown)
        job.label(segmenter, labels, progress=False)
        seconds = time.perf_counter() - before
        return seconds, [labels.masks(name)["object"] for name in names]

    def _grabcut(self, cv2, place: Path, truths: list) -> tuple[float, list[np.ndarray]]:
        """(seconds, masks) of OpenCV's GrabCut, each started from its object's box."""
        masks, seconds = [], 0.0
        for path, truth in zip(sorted((place / "images").iterdir()), truths, strict=True):
            before = time.perf_counter()
            image = np.ascontiguousarray(read_image(path)[..., ::-1])
            state = np.zeros(image.shape[:2], np.uint8)
            box = _box(truth)
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.setRNGSeed(0)
            cv2.grabCut(image, state, box, *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
            mask = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
            Image.fromarray(mask).save(place / "grabcut.png")
            seconds += time.perf_counter() - before
            masks.append(mask)
        return seconds, masks

    def _table(self, known: dict) -> str:
        lines = [
            "| labelled by | images | seconds | seconds an image | mean IoU % | "
            + " | ".join(f"IoU >= {share:.0%}" for share in SHARES)
            + " |",
            "| --- |" + " --- |" * (4 + len(SHARES)),
        ]
        kinds = (("ours, from masked images", "ours"), ("GrabCut, a box", "grabcut"))
        for device, entry in known["devices"].items():
            for title, kind in kinds:
                ious, seconds = np.asarray(entry["ious"][kind]), entry["seconds"][kind]
                cells = [f"{title}; {device}", str(len(ious)), f"{seconds:.1f}"]
                cells += [f"{seconds / len(ious):.3f}", f"{100 * ious.mean():.1f}"]
                cells += [f"{100 * (ious >= share).mean():.1f}" for share in SHARES]
                lines.append("| " + " | ".join(cells) + " |")
        for title, seconds, shares in PUBLISHED:
            cells = [f"published: {title}", "500", f"{seconds:.1f}", f"{seconds / 500:.3f}", ""]
            cells += [f"{share:.1f}" for share in shares] or [""] * len(SHARES)
            lines.append("| " + " | ".join(cells) + " |")
        chosen = known["settings"]
        lines += [
            "",
            f"{chosen['dataset']} {chosen['split']}, {chosen['shots']} shots, {chosen['images']} images "
            f"drawn at random (seed {chosen['seed']}); model "
            f"{chosen['training'] or 'the default'}; ours includes compiling, reading, masks, "
            "overlays and contact sheets. A run on another device adds its rows.",
            "",
        ]
        for entry in known["devices"].values():
            lines += [
                f"OpenCV {entry['opencv']}; {provenance_line(entry)}: `{entry['command']}`",
                "",
            ]
        return "\n".join(lines)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, width, height) around a mask with MARGIN, inside the picture and not all of it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    margin = max(1, round(MARGIN * max(mask.shape)))
    top, left = max(1, rows[0] - margin), max(1, columns[0] - margin)
    bottom, right = min(height - 1, rows[-1] + 1 + margin), min(width - 1, columns[-1] + 1 + margin)
    return int(left), int(top), int(right - left), int(bottom - top)


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))


NOTES = (
    "Published: arXiv 1907.12347, Table 6, people and machine of 2019. GrabCut here starts from the "
    "box of the true mask, and ours from masked images: nobody's time is counted on either side."
)

EXPERIMENT = Experiment(
    title="FSS-1000 Table 6: time and accuracy of labelling",
    notes=NOTES,
    trainings=(Training("fss1000_bce", "relation/paper", {"loss": "mean"}),),
    scorings=(),
    parts=(LabelTimes("fss1000_bce", "fss_1000/standard"),),
)

SMALL = Experiment(
    title="FSS-1000 Table 6 on glyphs, with what labels by default",
    notes=NOTES,
    trainings=(),
    scorings=(),
    parts=(LabelTimes("", "fss_glyphs/varied", images=100),),
)
