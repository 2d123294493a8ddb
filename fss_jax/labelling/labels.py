"""The folder that `fss label` fills: masks, overlays, and summaries of both."""

import contextlib
import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_builders import masks
from data_builders.mask_choice import NONE
from fss_jax.labelling import annotations, folders, gallery, pictures, sources
from fss_jax.labelling import manifest as manifests
from fss_jax.labelling.annotations import ImageMasks
from fss_jax.labelling.formats import coco, labelme
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.prediction import Prediction
from fss_jax.reports import drawing
from fss_jax.runtime import files

OVERLAY_SIDE = 1600  # pixels
SHEET = 500  # pictures in a contact sheet
COLORS = (drawing.PREDICTION_COLOR, drawing.TRUTH_COLOR, drawing.SUPPORT_COLOR, (100, 143, 255))
FORMATS = ("rle", "polygons")
CORRECTED = "corrected by hand"
CHANGED = 0.05  # 1 minus the IoU with the mask before, from which on it is told


class Labels:
    """Where the labels of some images lie, and how they are written.

    Attributes:
      images: the folder of images.
      names: of the images, relative to it, sorted.
      classes: what is looked for; with several, each has a folder of masks.
      expected_iou: (class, confidence) -> IoU by the checkpoint's calibration, or None.
    """

    def __init__(
        self,
        manifest: Manifest,
        images: Path,
        names: Sequence[str],
        classes: Sequence[str],
        *,
        coco: str = "",
        labelme: bool = False,
        instances: bool = False,
    ):
        """Opens the folder of `manifest`.

        Args:
          coco: 'rle' or 'polygons' to write a COCO file, too.
          labelme: whether to write labelme files.
          instances: whether connected parts are objects of their own in both.
        """
        self.manifest, self.out, self.images = manifest, manifest.folder, images
        self.names, self.classes = tuple(names), tuple(classes)
        self.coco, self.labelme, self.instances = coco, labelme, instances
        self._replaceable: dict[Path, str] = {}
        self.expected_iou: Callable[[str, float], float | None] = lambda name, confidence: None
        self.choice = NONE  # of corrected masks with several readings
        self.kept: list[Path] = []  # exports that a person changed: they stay as they are
        self._stems = folders.stems(self.names)
        self._folders = folders.names(self.classes)

    def mask_path(self, name: str, class_name: str) -> Path:
        folder = self.out / "masks"
        if len(self.classes) > 1:
            folder /= self._folders[class_name]
        return folder / f"{self._stems[name]}.png"

    def overlay_path(self, name: str) -> Path:
        return self.out / "overlays" / f"{self._stems[name]}.jpg"

    def labelme_path(self, name: str) -> Path:
        return self.out / "labelme" / f"{self._stems[name]}.json"

    def outputs(self, name: str) -> list[Path]:
        """The masks and the overlay of an image."""
        return [*(self.mask_path(name, c) for c in self.classes), self.overlay_path(name)]

    def summaries(self) -> list[Path]:
        """What is written at the end."""
        return [self.out / "labels.csv", self.out / "labels.html", *self.exports()]

    def exports(self) -> list[Path]:
        """Files for label tools, of what is in the masks."""
        paths = []
        if self.coco:
            paths.append(self.out / coco.FILE)
        if self.labelme:
            paths += [self.labelme_path(name) for name in self.names]
        return paths

    def corrected(self, name: str) -> bool:
        """Whether a person changed a mask of an image after it was written."""
        return any(self.manifest.changed(self.mask_path(name, c)) for c in self.classes)

    def done(self, name: str) -> bool:
        """Whether an image needs no work. What could not be read is tried again."""
        entry = self.manifest.entries.get(name)
        if self.corrected(name):
            return True
        if not entry or "error" in entry or not all(p.exists() for p in self.outputs(name)):
            return False
        return "source" not in entry or sources.same(self.images / name, entry["source"])

    def may_replace(self, names: Iterable[str]) -> None:
        """Lets `write` overwrite what is not ours now; what is changed from here on, it leaves."""
        for path in itertools.chain.from_iterable(map(self.outputs, names)):
            if not self.manifest.ours(path):
                self._replaceable[path] = manifests.sha256(path)

    def _may_write(self, path: Path) -> bool:
        if self.manifest.ours(path):
            return True
        return path in self._replaceable and self._replaceable[path] == manifests.sha256(path)

    def write(self, name: str, found: Prediction, small: np.ndarray) -> bool:
        """Writes an image's masks and its overlay, unless a person made a mask of it in the meantime.

        Args:
          small: the image, uint8 RGB, as large as the overlay shall be.

        Returns:
          Whether it did; else `summarize` counts the person's mask.
        """
        paths = self.outputs(name)[:-1]
        with contextlib.ExitStack() as stack:
            temporaries = [stack.enter_context(files.replacement(path)) for path in paths]
            for temporary, class_name in zip(temporaries, self.classes, strict=True):
                mask = found.masks[class_name].astype(np.uint8) * 255
                Image.fromarray(mask).save(temporary, "PNG")
            digests = [manifests.sha256(temporary) for temporary in temporaries]
            changed = {
                c: self._changed(path, found.masks[c])
                for c, path in zip(self.classes, paths, strict=True)
            }
            stack.enter_context(self.manifest.writing())
            self.manifest.begin(dict(zip(paths, digests, strict=True)))
            # As late as can be: a person may have saved a mask while this one was predicted.
            kept = not all(map(self._may_write, paths))
            for path, temporary in zip(paths, temporaries, strict=True):
                if not (kept and path.exists()):
                    files.put(temporary, path)
            if kept:
                return False
            written = dict(zip(paths, digests, strict=True))
            overlay = self.overlay_path(name)
            if self._may_write(overlay):
                self.manifest.begin([overlay])
                self._overlay(name, found.masks, small)
                written[overlay] = manifests.sha256(overlay)
            entry = _entry(found.masks)
            entry["source"] = sources.state(self.images / name)
            for class_name, values in entry["classes"].items():
                values["confidence"] = round(found.confidence(class_name), 4)
                if changed[class_name] is not None:
                    values["changed"] = round(changed[class_name], 4)
                present = found.present(class_name)
                if present is not None:
                    values["present"] = round(present, 4)
                    values["expected_iou"] = round(found.expected_iou(class_name), 4)
            self.manifest.finish(written, name, entry)
        return True

    def _changed(self, path: Path, mask: np.ndarray) -> float | None:
        """1 minus the IoU of a mask of ours that is there with the new one; None if there is none."""
        try:
            with Image.open(path) as file:
                before = np.asarray(file.convert("L")) > 127
        except (OSError, ValueError):
            return None
        if before.shape != mask.shape:
            return None
        union = int((before | mask).sum())
        return 1 - int((before & mask).sum()) / union if union else 0.0

    def correct(self, name: str, class_name: str, mask: np.ndarray) -> None:
        """Replaces a mask, bool [H, W], by a person's, which no later prediction changes."""
        with self.manifest.writing():
            path = self.mask_path(name, class_name)
            with files.atomic(path) as temporary:
                Image.fromarray(mask).save(temporary, "PNG")
            self.summarize()

    def _overlay(self, name: str, found: dict[str, np.ndarray], small: np.ndarray) -> None:
        for mask, color in zip(found.values(), itertools.cycle(COLORS), strict=False):
            shrunk = Image.fromarray(mask).resize(small.shape[1::-1], Image.Resampling.NEAREST)
            small = drawing.overlay(small, np.asarray(shrunk), color)
        with files.atomic(self.overlay_path(name)) as temporary:
            Image.fromarray(small).save(temporary, "JPEG", quality=90)

    def fail(self, name: str, error: Exception) -> None:
        """Notes that an image cannot be read."""
        with self.manifest.writing():
            if not self.corrected(name):
                self.manifest.finish([], name, {"error": " ".join(str(error).split())})

    def ranked(self) -> list[tuple[str, dict]]:
        """Names and entries: broken images, then the worst first.

        By the IoU that the method expects of its masks, otherwise by confidence.
        """

        def doubt(item: tuple[str, dict]) -> tuple:
            name, entry = item
            if "error" in entry:
                return (-1.0, name)
            if entry.get("note") == CORRECTED:
                return (1.0, name)
            expected = self.least_expected(name)
            sure = [c["confidence"] for c in entry["classes"].values() if c["area"]]
            return (min(sure, default=0.0) if expected is None else expected, name)

        entries = ((name, self.manifest.entries.get(name)) for name in self.names)
        return sorted(((name, entry) for name, entry in entries if entry), key=doubt)

    def least_expected(self, name: str) -> float | None:
        """Of an image's classes, the least IoU that the method expects; None if it does not say."""
        classes = self.manifest.entries[name]["classes"].values()
        return min((c["expected_iou"] for c in classes if "expected_iou" in c), default=None)

    def summarize(self) -> None:
        """Writes the table, the contact sheet and the annotation files, from what is on disk.

        Masks that a person corrected count with confidence 1, and their overlays are drawn again.
        """
        with self.manifest.writing():
            self._summarize()

    def _summarize(self) -> None:
        self.kept = [path for path in self.exports() if self.manifest.changed(path)]
        paths = [path for path in self.summaries() if path not in self.kept]
        self.manifest.begin(paths)
        for name in filter(self.corrected, self.names):
            found = self.masks(name)
            self.manifest.begin([self.overlay_path(name)])
            self._overlay(name, found, read_small(self.images / name)[1])
            self.manifest.finish(
                [self.overlay_path(name)], name, _entry(found) | {"note": CORRECTED}
            )
        ranked = self.ranked()
        files.write_text(self.out / "labels.csv", self._table(ranked))
        self._sheet(ranked)
        readable = [name for name, entry in ranked if "error" not in entry]
        if self.coco and self.out / coco.FILE not in self.kept:
            coco.write_one(
                self.out / coco.FILE,
                self._regions(sorted(readable)),
                polygons=self.coco == "polygons",
            )
        if self.labelme:
            for image in self._regions(readable):
                path = self.labelme_path(image.file_name)
                if path not in self.kept:
                    there = image._replace(image=self.images / image.file_name)
                    labelme.write_one(path, there)
        self.manifest.finish(path for path in paths if path.exists())

    def _expected(self, class_name: str, entry: dict) -> float | None:
        """The IoU to expect of a class's mask; what a person corrected is right."""
        if entry.get("note") == CORRECTED:
            return 1.0
        values = entry["classes"][class_name]
        if "expected_iou" in values:
            return values["expected_iou"]
        return self.expected_iou(class_name, values["confidence"])

    def told(self, class_name: str, entry: dict) -> str:
        """What is known of a class's mask, in words."""
        values = entry["classes"][class_name]
        expected = self._expected(class_name, entry)
        if entry.get("note") == CORRECTED:
            return CORRECTED
        if "present" in values and not values["area"]:
            told = f"not here (probability {1 - values['present']:.2f})"
        else:
            told = f"confidence {values['confidence']:.2f}"
            told += "" if expected is None else f", expected IoU {expected:.2f}"
        if values.get("changed", 0) >= CHANGED:
            told += f", changed by {100 * values['changed']:.0f} %"
        return told

    def masks(self, name: str) -> dict[str, np.ndarray]:
        """The masks of an image as they are on disk, bool [H, W] by class."""
        return {c: self._mask(self.mask_path(name, c)) for c in self.classes}

    def _mask(self, path: Path) -> np.ndarray:
        """A mask of ours, or what a person put in its place: a label map as `choice` says."""
        try:
            return masks.read_mask(path)
        except masks.Unclear:
            if not self.choice.given:
                raise
            return masks.read_mask(path, choice=self.choice)

    def _regions(self, names: Sequence[str]) -> Iterator[ImageMasks]:
        for name in names:
            found = self.masks(name)
            image = ImageMasks(name, *next(iter(found.values())).shape, found)
            yield annotations.split(image) if self.instances else image

    def _table(self, ranked: list[tuple[str, dict]]) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        several = len(self.classes) > 1
        keys = ("area", "confidence", "present", "expected_iou")
        fields = [f"{key} {name}" if several else key for name in self.classes for key in keys]
        table.writerow(["image", "width", "height", *fields, "note"])
        for name, entry in ranked:
            if "error" in entry:
                table.writerow([name, "", "", *[""] * len(fields), entry["error"]])
                continue
            values = []
            for c in self.classes:
                expected = self._expected(c, entry)
                values += [entry["classes"][c].get(key, "") for key in keys[:3]]
                values.append("" if expected is None else f"{expected:.4f}")
            table.writerow([name, entry["width"], entry["height"], *values, entry.get("note", "")])
        return text.getvalue()

    def _sheet(self, ranked: list[tuple[str, dict]]) -> None:
        def shown() -> Iterator[tuple[Path | None, str, str]]:
            for name, entry in ranked[:SHEET]:
                if "error" in entry:
                    yield None, name, entry["error"]
                    continue
                pixels = entry["width"] * entry["height"]
                lines = [
                    f"{c}: {100 * value['area'] / pixels:.1f} % of the image, {self.told(c, entry)}"
                    for c, value in entry["classes"].items()
                ]
                yield self.overlay_path(name), name, "; ".join(lines)

        note = f"{len(ranked)} images, the worst first"
        if len(ranked) > SHEET:
            note += f"; the first {SHEET} are shown"
        gallery.write(self.out / "labels.html", ", ".join(self.classes), note, shown())


def read_small(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 RGB, and the same as large as its overlay shall be."""
    rgb = pictures.read_image(path)
    small = Image.fromarray(rgb)
    small.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE))
    return rgb, np.asarray(small)


def _entry(found: dict[str, np.ndarray]) -> dict:
    height, width = next(iter(found.values())).shape
    classes = {name: {"area": int(mask.sum()), "confidence": 1.0} for name, mask in found.items()}
    return {"width": width, "height": height, "classes": classes}
