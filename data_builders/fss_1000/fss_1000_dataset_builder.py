"""FSS-1000 from its archive: every odd thing in it is handled by a stated rule and reported."""

import dataclasses
import hashlib
import io
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import archives, downloads, masks, pictures, segmentation
from data_builders.fss_1000 import class_lists

ARCHIVE_URL = (
    "https://drive.google.com/uc?export=download&id=16TgqOeI_0P41Eh3jWQlxlRXG9KIqtMgI"  # its readme
)
ARCHIVE = "fewshot_data.zip"
# Not the authors' word: one user of the archive names it in public. So a difference is reported only.
ARCHIVE_SHA256 = "4e49282322891eae4511153f1b63f6274042702ecd2b6da4bff949e106ac20e0"
KEPT = "cut at half of its range, as published evaluations have it; --config clean leaves it out"
IMAGES_PER_CLASS = 10
NUMBERS = [str(n) for n in range(1, IMAGES_PER_CLASS + 1)]
SIDE = 224
MEMBER = re.compile(r"(?:(?P<root>.*)/)?(?P<name>[^/]+)/(?P<number>\d+)\.(?P<kind>jpg|png)")


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """What a user may choose.

    Attributes:
      keep_photograph_mask: keep pairs whose mask is a photograph (peregine_falcon/8), cut at half of
        its range as every published evaluation did, instead of leaving them out.
      allow_missing: prepare what is there of an archive that lacks classes or pairs.
      skip_broken: leave out (and report) pairs that can not be used, instead of stopping.
      split_dir: folder with train.txt (or trn.txt), val.txt and test.txt, instead of the published.
      random_split: draw train and val from the classes outside the test list, by `seed`.
      balanced_split: draw 20 test and 20 val classes of every super-category, by `seed`.
    """

    keep_photograph_mask: bool = True
    allow_missing: bool = False
    skip_broken: bool = False
    split_dir: str = ""
    random_split: bool = False
    balanced_split: bool = False
    seed: int = 0


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits by class: train 520, val 240, test 240 classes."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "First version.",
        "1.1.0": "peregine_falcon/8 is kept by default, so that every class has its ten images; groups "
        "and further super-categories.",
    }
    BUILDER_CONFIGS = [
        Config(name="standard", description="The official test classes, HSNet's train and val."),
        Config(
            name="clean",
            description="As standard, without the pair whose mask is a photograph.",
            keep_photograph_mask=False,
        ),
        Config(name="random", description="Train and val drawn by seed.", random_split=True),
        Config(
            name="balanced",
            description="20 test and 20 val classes of each super-category drawn by seed.",
            balanced_split=True,
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The archive (fewshot_data.zip, or HSNet's FSS-1000.zip) or its unpacked folder; beside it, "
        "for another split than the published one, train.txt, val.txt and test.txt with class names."
    )

    report: list[str]

    def _info(self) -> tfds.core.DatasetInfo:
        features = dict(segmentation.features(sorted(class_lists.super_categories())).items())
        categories = tfds.features.ClassLabel(names=list(class_lists.SUPER_CATEGORIES))
        features["super_category"] = categories
        features["further_super_categories"] = tfds.features.Sequence(categories)
        features["group"] = tfds.features.ClassLabel(names=list(class_lists.groups()))
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            homepage="https://github.com/HKUSTCV/FSS-1000",
            metadata=tfds.core.MetadataDict(self._facts()),
            disable_shuffling=True,
        )

    def _facts(self) -> dict:
        """What a reader of the prepared dataset has to know, kept beside it."""
        kept = self.builder_config.keep_photograph_mask
        return {
            "photograph_masks": f"kept, {KEPT}" if kept else "pairs left out",
            "published_lists": {
                split: {"source": its.source, "sha256": its.sha256}
                for split, its in class_lists.PUBLISHED.items()
            },
        }

    def _split_generators(self, dl_manager):
        self.report = []
        manual = self._manual_dir(dl_manager)
        classes = self._classes(manual)
        place = manual if manual and self._has_data(manual) else self._download_archive(dl_manager)
        files = archives.dataset_files(place)
        self._compare_archive(Path(files.root))
        members = self._members(files)
        self._check_complete(members, classes, files.root)
        present = {
            split: [name for name in sorted(names) if name in members]
            for split, names in classes.items()
        }
        for split in [split for split, names in present.items() if not names]:
            self.report.append(f"split {split} has no class here and is left out")
            del present[split]
        return {
            split: self._generate_examples(files, {name: members[name] for name in names})
            for split, names in present.items()
        }

    def _manual_dir(self, dl_manager) -> Path | None:
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError:  # how TFDS says that none was given
            return None

    def _has_data(self, manual: Path) -> bool:
        return any(path.is_dir() or path.suffix == ".zip" for path in manual.iterdir())

    def _download_archive(self, dl_manager) -> Path:
        place = downloads.fetch(dl_manager, {ARCHIVE: (ARCHIVE_URL,)})[ARCHIVE]
        if not zipfile.is_zipfile(place):
            raise ValueError(
                f"{ARCHIVE_URL} gave something that is not a zip archive (Google Drive sends a page "
                f"when it refuses); delete {place}, fetch the archive with a browser and give its "
                "folder as --manual_dir"
            )
        return place

    def _compare_archive(self, archive: Path) -> None:
        if not archive.is_file():
            return
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != ARCHIVE_SHA256:
            self.report.append(
                f"the archive's SHA-256 is {found}; one public note on {ARCHIVE} has {ARCHIVE_SHA256}"
            )

    def _classes(self, manual: Path | None) -> dict[str, list[str]]:
        config = self.builder_config
        if config.balanced_split:
            return class_lists.draw_balanced(config.seed)
        folder = Path(config.split_dir) if config.split_dir else manual
        lists = {}
        for split in ["test"] if config.random_split else class_lists.PUBLISHED:
            path = class_lists.find(folder, split) if folder else None
            if config.split_dir and path is None:
                names = " or ".join(class_lists.FILE_NAMES[split])
                raise FileNotFoundError(f"no {names} in {folder}")
            lists[split] = published = class_lists.published(split)
            if path is not None:
                lists[split] = class_lists.read(path)
            if set(lists[split]) != set(published):
                self.report.append(f"{split}: the classes of {path}, not the published ones")
        if config.random_split:
            lists |= class_lists.draw_train_and_val(lists["test"], config.seed)
        class_lists.check_disjoint(lists)
        return lists

    def _members(self, files: archives.Files) -> dict[str, dict[int, dict[str, str]]]:
        """class name -> number -> {'jpg': member, 'png': member}; reports the rest."""
        known = class_lists.super_categories()
        found = {name: MEMBER.fullmatch(name) for name in files.names}
        roots = Counter(m["root"] or "" for m in found.values() if m and m["name"] in known)
        if not roots:
            raise ValueError(
                f"{files.root} has no FSS-1000 class among its {len(files.names)} files; expected "
                "fewshot_data/CLASS/1.jpg and 1.png or FSS-1000/CLASS/..."
            )
        root = roots.most_common(1)[0][0]
        members = defaultdict(lambda: defaultdict(dict))
        stray, foreign = [], Counter()
        for name, match in found.items():
            inner = name.removeprefix(f"{root}/")
            if inner == name and root or "/" not in inner:
                continue
            if (
                match
                and inner.count("/") == 1
                and match["name"] in known
                and match["number"] in NUMBERS
            ):
                members[match["name"]][int(match["number"])][match["kind"]] = name
            elif inner.split("/")[0] in known:
                stray.append(inner)
            else:
                foreign[inner.split("/")[0]] += 1
        if stray:
            self.report.append(f"{len(stray)} stray files ignored: {_some(stray, 20)}")
        for name, count in foreign.items():
            self.report.append(f"{name} is not a class of FSS-1000: its {count} files are ignored")
        return members

    def _check_complete(self, members, classes: dict[str, list[str]], place: str) -> None:
        wanted = sorted(name for names in classes.values() for name in names)
        missing = [name for name in wanted if name not in members]
        if missing:
            self._lacks(
                f"{place} lacks {len(missing)} of {len(wanted)} classes (first: {_some(missing, 3)})"
            )
        for name in sorted(set(wanted) & set(members)):
            lacking = [
                f"{number}.{kind}"
                for number in range(1, IMAGES_PER_CLASS + 1)
                for kind in ("jpg", "png")
                if kind not in members[name].get(number, {})
            ]
            if lacking:
                self._lacks(f"class {name} lacks {_some(lacking, 4)}")

    def _lacks(self, what: str) -> None:
        if not self.builder_config.allow_missing:
            raise ValueError(
                f"{what}; give the whole archive, or --option allow_missing=true to prepare the rest"
            )
        self.report.append(what)

    def _generate_examples(self, files, members) -> Iterator[tuple[str, dict]]:
        class_ids = {name: i for i, name in enumerate(sorted(class_lists.super_categories()), 1)}
        for name, numbers in members.items():
            self.soft_masks, place = 0, class_lists.hierarchy()[name]
            for number, pair in sorted(numbers.items()):
                if len(pair) < 2:
                    continue
                # Two digits: in a sorted list 10 comes after 9.
                image_id = f"{name}/{number:02d}"
                try:
                    image, mask = self._read_pair(files, pair)
                except ValueError as error:
                    if not self.builder_config.skip_broken:
                        raise ValueError(
                            f"{error}; mend it, or --option skip_broken=true to leave it out"
                        ) from error
                    self.report.append(f"{error}; left out")
                    continue
                if mask is None:
                    continue
                label = mask.astype(np.uint8)
                yield (
                    image_id,
                    {
                        "image": io.BytesIO(image),
                        "label": segmentation.png(label),
                        "image_id": image_id,
                        "objects": segmentation.objects(label, {1: class_ids[name]}),
                        "super_category": place.super_category,
                        "further_super_categories": list(place.also),
                        "group": f"{place.super_category} / {place.group}",
                    },
                )
            if self.soft_masks:
                self.report.append(
                    f"class {name}: {self.soft_masks} masks with grays, cut at half of the range"
                )

    def _read_pair(self, files, pair) -> tuple[bytes, np.ndarray | None]:
        """The image's bytes and its mask; None for a mask that is a photograph and not kept."""
        image = files.read(pair["jpg"])
        size = pictures.open_picture(image, pair["jpg"]).size
        if size != (SIDE, SIDE):
            self.report.append(f"{pair['jpg']} is {size[0]} x {size[1]}, not {SIDE} x {SIDE}")
        picture = pictures.open_picture(files.read(pair["png"]), pair["png"])
        try:
            reading = masks.read(picture, pair["png"])
            mask = reading.label == 1
            if reading.kind == "soft":
                self.soft_masks += 1
                if reading.note:  # published evaluations cut at half, whatever the range
                    mask = _strongest(picture) >= masks.HALF
            elif reading.note:
                self.report.append(reading.note)
        except masks.Unclear as error:
            photograph = error.kind == "photograph"
            keep = self.builder_config.keep_photograph_mask or not photograph
            if photograph:
                self.report.append(
                    f"{pair['png']} is a photograph, not a mask: "
                    + (f"kept, {KEPT}" if keep else "pair left out")
                )
            if not keep:
                return image, None
            self.soft_masks += 1
            # A photograph as HSNet reads it, whatever the colors.
            gray = np.asarray(picture.convert("L")) if photograph else _strongest(picture)
            mask = gray >= masks.HALF
        if picture.size != size:
            self.report.append(
                f"{pair['png']} is {picture.width} x {picture.height}, its image {size[0]} x "
                f"{size[1]}: resized by nearest neighbor"
            )
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        if not mask.any():
            raise ValueError(f"{pair['png']} is empty: no pixel is the object")
        return image, mask


def _strongest(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).max(-1)


def _some(names: list[str], count: int) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
