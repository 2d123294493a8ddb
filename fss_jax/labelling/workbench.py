"""What the web page does, without the page: a folder of examples, images and labels that grows.

FOLDER/support/image/N.png, label/N.png   the examples, as `label` reads them
FOLDER/images/X                           what was uploaded, bytes as they came
FOLDER/labels/                            what `label` writes, corrections included

So `fss correct --support FOLDER/support --images FOLDER/images --out FOLDER/labels`
goes on where the page stopped, and the other way round.
"""

import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from data_builders import pairs
from fss_jax.labelling import job, labels, pictures, sample, supports, watching
from fss_jax.labelling.labels import Labels
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.reports import drawing
from fss_jax.runtime import files

MAX_BYTES = 50 * 2**20  # of an uploaded file
MAX_PIXELS = 50_000_000  # of an uploaded picture: 150 MB when decoded
MAX_TOTAL = 20 * 2**30  # bytes of all images of a folder
EXAMPLES = 50
ORDERS = ("least sure first", "surest first", "by name")


class Workbench:
    """One person's examples, images and labels of one class.

    Attributes:
      folder: where they lie; what is there already is taken up again.
    """

    def __init__(self, segmenter: Segmenter, folder: Path):
        self.segmenter, self.folder = segmenter, folder
        files.clean(folder)
        for path in (self._support / "image", self._support / "label", self._images):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def _support(self) -> Path:
        return self.folder / "support"

    @property
    def _images(self) -> Path:
        return self.folder / "images"

    def examples(self) -> list[tuple[np.ndarray, str]]:
        """(small picture with its mask drawn, name) of each example."""
        result = []
        for path in pairs.pictures(self._support / "image"):
            rgb, small = labels.read_small(path)
            mask = pictures.read_mask(self._support / "label" / f"{path.stem}.png")
            drawn = drawing.overlay(small, _resized(mask, small.shape[:2]), drawing.SUPPORT_COLOR)
            result.append((drawn, path.stem))
        return result

    def add_example(
        self,
        rgb: UInt8[np.ndarray, "h w 3"],
        mask: Bool[np.ndarray, "H W"] | UInt8[np.ndarray, "H W"],
    ) -> None:
        """Adds an example; a mask of another size is stretched to the image's.

        Args:
          mask: bool, or a label map (1 object, 0 background, 255 undecided).

        Raises:
          ValueError: an empty mask, or EXAMPLES there already.
        """
        if not (mask == 1).any():
            raise ValueError("the mask is empty: paint over the object, or upload a mask")
        taken = [int(p.stem) for p in pairs.pictures(self._support / "image") if p.stem.isdigit()]
        if len(taken) >= EXAMPLES:
            raise ValueError(f"there are {EXAMPLES} examples already; remove one first")
        name = f"{max(taken, default=0) + 1}.png"
        for kind, array in (("image", rgb), ("label", _resized(mask, rgb.shape[:2]))):
            with files.atomic(self._support / kind / name) as temporary:
                Image.fromarray(array).save(temporary, "PNG")

    def remove_examples(self) -> None:
        """Forgets all examples."""
        for kind in ("image", "label"):
            for path in pairs.pictures(self._support / kind):
                path.unlink()

    def add_images(self, uploads: Sequence[Path]) -> list[str]:
        """Takes up picture files; returns what is wrong with those that were refused, a line each."""
        refused = []
        room = MAX_TOTAL - sum(path.stat().st_size for path in self._images.iterdir())
        for file in uploads:
            name = re.sub(r"[^\w.-]+", "_", file.name).lstrip(".") or "image"
            try:
                if Path(name).suffix.lower() not in pairs.PICTURES:
                    raise ValueError(f"{name} is no picture ({', '.join(pairs.PICTURES)})")
                read_upload(file, name)
                room -= file.stat().st_size
                if room < 0:
                    raise ValueError(f"{name} is refused: the pictures may take {MAX_TOTAL} bytes")
            except (ValueError, OSError) as error:
                refused.append(" ".join(str(error).split()))
                continue
            with files.atomic(self._images / name) as temporary:
                shutil.copyfile(file, temporary)
        return refused

    def predict(self) -> int:
        """Finds the object in all images that no person corrected; returns how many.

        Raises:
          ValueError: no example, or no image yet; an example that cannot be used.
        """
        return sum(self.predict_in_turn())

    def predict_in_turn(self, first: Sequence[str] = ()) -> Iterator[int]:
        """`predict`, which yields how many twice: after the images of `first`, and after all others."""
        self.segmenter.set_support(*self._shown())
        yield from job.relabel_in_turn(self.segmenter, self._labels(), first, progress=False)

    def changes(self) -> list[str]:
        """A line that names the images whose masks the last prediction changed most; see watching."""
        return watching.changes(self._labels())

    def add_sample(self) -> None:
        """Adds examples and pictures that are rendered: for who wants to see how it works."""
        for n, (rgb, mask) in enumerate(sample.pictures()):
            if n < sample.EXAMPLES:
                self.add_example(rgb, mask)
                continue
            with files.atomic(self._images / f"rendered_{n}.png") as temporary:
                Image.fromarray(rgb).save(temporary, "PNG")

    def found(self, order: str = ORDERS[0]) -> list[tuple[str, Path | None, str]]:
        """(image's name, overlay file or None, a line about it) of each labelled image."""
        if not (self.folder / "labels").is_dir():
            return []
        there = self._labels()
        there.expected_iou = self._expected_iou
        ranked = there.ranked()
        if order == ORDERS[1]:
            ranked.reverse()
        elif order == ORDERS[2]:
            ranked.sort()
        result = []
        for name, entry in ranked:
            if "error" in entry:
                result.append((name, None, f"{name}: {entry['error']}"))
                continue
            line = f"{name}: {there.told('object', entry)}"
            result.append((name, there.overlay_path(name), line))
        return result

    def mask(self, name: str) -> Bool[np.ndarray, "h w"]:
        """The mask of a labelled image, as it is now."""
        return self._labels().masks(name)["object"]

    def image(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        return pictures.read_image(self._images / name, max_pixels=MAX_PIXELS)

    def correct(self, name: str, mask: Bool[np.ndarray, "H W"]) -> None:
        """Replaces the mask of a labelled image by a person's, which no later prediction changes."""
        there = self._labels()
        path = there.mask_path(name, "object")
        with Image.open(path) as old:
            size = old.size[::-1]
        there.expected_iou = self._expected_iou
        there.correct(name, "object", _resized(mask, size))

    def export(self, place: Path) -> Path:
        """Writes PLACE/labels.zip: masks, overlays, labels.csv, labels.html and COCO annotations.

        Raises:
          ValueError: nothing is labelled yet.
        """
        source = self.folder / "labels"
        if not (source / "labels.csv").is_file():
            raise ValueError("nothing to export yet: find the object first")
        place.mkdir(parents=True, exist_ok=True)
        with Manifest(source).writing(), files.atomic(place / "labels.zip") as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(source.rglob("*")):
                    if path.is_file() and not path.name.startswith((".", "manifest")):
                        archive.write(path, path.relative_to(source))
        return place / "labels.zip"

    def _shown(self) -> tuple[list[Path], list[Path]]:
        try:
            return supports.read(self._support)["support"]
        except (ValueError, KeyError) as error:
            raise ValueError(
                "no example yet: paint the object in a picture, then add it"
            ) from error

    def _labels(self) -> Labels:
        names = job.find_images(self._images)
        return Labels(
            Manifest(self.folder / "labels"), self._images, names, ("object",), coco="rle"
        )

    def _expected_iou(self, name: str, confidence: float) -> float | None:
        if not self.segmenter.classes:  # opened again: no prediction yet in this process
            return None
        return self.segmenter.expected_iou(self.segmenter.classes[0], confidence)


def read_upload(file: Path, name: str = "") -> UInt8[np.ndarray, "h w 3"]:
    """An uploaded picture as RGB, refused if it is too large in bytes or in pixels, or none.

    Raises:
      ValueError: as said; nothing of a picture with too many pixels is decoded.
    """
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{name or file.name} has {size} bytes; the limit is {MAX_BYTES}")
    return pictures.read_image(file, max_pixels=MAX_PIXELS, name=name or file.name)


def _resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if mask.shape == tuple(shape):
        return mask
    picture = Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture)
