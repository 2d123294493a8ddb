"""PASCAL-5i from archives in the true format, from folders, and against the published lists."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import downloads, segmentation
from data_builders.pascal_5i import Builder, sources

SHAPE = (40, 50)
# Class ids that VOC (`.png`, with void) and SBD (`.mat`) annotate in each image.
VOC_TRAIN = {"2008_000002": [1, 6], "2008_000003": [7], "2008_000007": [15]}
VOC_VAL = {"2007_000033": [6, 2], "2007_000042": [3], "2007_000061": [10]}
SBD_TRAIN = {"2008_000002": [1, 7], "2007_000033": [1], "2008_000008": [13], "2008_000015": [8]}
SBD_VAL = {"2008_000019": [20], "2008_000007": [15], "2008_000021": [1, 9]}
MAIN_TRAIN = [*VOC_TRAIN, "2008_000008", "2008_000015", "2008_000019"]
GREY = "2008_000008"


def class_map(image_id: str, classes: list[int], void: bool) -> np.ndarray:
    """A block per class, at a place that differs between images and annotators."""
    label = np.zeros(SHAPE, np.uint8)
    for n, class_id in enumerate(classes):
        top = int(image_id[-2:]) % 7 + 2 * void
        if void:
            label[top : top + 22, 20 * n + 1 : 20 * n + 17] = 255
        label[top + 1 : top + 21, 20 * n + 2 : 20 * n + 16] = class_id
    return label


def write_png(path: Path, label: np.ndarray, mode: str = "P") -> None:
    image = Image.fromarray(label)
    if mode == "P":
        image.putpalette([(37 * i) % 256 for i in range(768)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_mat(path: Path, label: np.ndarray) -> None:
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = scipy.sparse.csc_matrix(label == i + 1)
    present = np.setdiff1d(label, [0])[:, None]
    struct = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": present}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"GTcls": struct}, do_compression=True)


def write_list(path: Path, ids) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{image_id}\n" for image_id in ids))


@pytest.fixture
def folders(tmp_path) -> Path:
    """VOC 2012 and SBD in miniature, unpacked side by side."""
    root = tmp_path / "source"
    voc, sbd = root / sources.VOC_FOLDER, root / sources.SBD_FOLDER
    rng = np.random.default_rng(0)
    for image_id in {**VOC_TRAIN, **VOC_VAL, **SBD_TRAIN, **SBD_VAL}:
        pixels = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
        image = Image.fromarray(pixels).convert("L" if image_id == GREY else "RGB")
        path = voc / f"JPEGImages/{image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    for image_id, classes in {**VOC_TRAIN, **VOC_VAL}.items():
        write_png(voc / f"SegmentationClass/{image_id}.png", class_map(image_id, classes, True))
    for image_id, classes in {**SBD_TRAIN, **SBD_VAL}.items():
        write_mat(sbd / f"cls/{image_id}.mat", class_map(image_id, classes, False))
    write_list(voc / "ImageSets/Segmentation/train.txt", VOC_TRAIN)
    write_list(voc / "ImageSets/Segmentation/val.txt", VOC_VAL)
    write_list(voc / "ImageSets/Main/train.txt", MAIN_TRAIN)
    write_list(sbd / "train.txt", SBD_TRAIN)
    write_list(sbd / "val.txt", SBD_VAL)
    return root


def archives(root: Path, to: Path) -> dict[str, str]:
    to.mkdir(exist_ok=True)
    paths = {"voc": to / "VOCtrainval_11-May-2012.tar", "sbd": to / "benchmark.tgz"}
    with tarfile.open(paths["voc"], "w") as tar:
        tar.add(root / "VOCdevkit", "VOCdevkit")
    with tarfile.open(paths["sbd"], "w:gz") as tar:
        tar.add(root / "benchmark_RELEASE", "benchmark_RELEASE")
    return paths


def prepare(config: str, data_dir: Path, manual_dir: Path | None = None):
    builder = Builder(config=config, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir),
    )
    return builder


def read(builder, split: str) -> dict[str, dict]:
    raw = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
    found = {}
    for example in builder.as_data_source(split, decoders=raw):
        image_id = example["image_id"].decode()
        assert image_id not in found
        example["label"] = np.asarray(Image.open(io.BytesIO(example["label"])))
        found[image_id] = example
    return found


def only(label: np.ndarray, classes) -> np.ndarray:
    return np.where(np.isin(label, [*classes, 255]), label, 0)


@pytest.fixture
def downloaded(folders, tmp_path, serve) -> list[str]:
    """Makes the network hand out archives of the miniature; lists the asked URLs."""
    paths = archives(folders, tmp_path / "archives")
    return serve({sources.VOC_ARCHIVE: paths["voc"], sources.SBD_ARCHIVE: paths["sbd"]})


def test_fold_from_downloaded_archives(folders, downloaded, tmp_path):
    builder = prepare("fold1", tmp_path / "data")
    assert downloaded == [sources.VOC_URLS[0], sources.SBD_URL]
    training, held_out = [*range(1, 6), *range(11, 21)], range(6, 11)

    train = read(builder, "train")
    expected = {  # without the val image, and without 000003 and 000015: held-out classes alone
        "2008_000002": class_map("2008_000002", [1, 6], True),
        "2008_000002@sbd": class_map("2008_000002", [1, 7], False),
        "2008_000007": class_map("2008_000007", [15], True),
        "2008_000007@sbd": class_map("2008_000007", [15], False),
        "2008_000008": class_map("2008_000008", [13], False),
        "2008_000019": class_map("2008_000019", [20], False),
    }
    assert sorted(train) == sorted(expected)
    for image_id, example in train.items():
        np.testing.assert_array_equal(example["label"], only(expected[image_id], training))
        source = folders / sources.VOC_FOLDER / f"JPEGImages/{image_id.split('@')[0]}.jpg"
        assert example["image"] == source.read_bytes()
    assert 255 in train["2008_000002"]["label"] and 6 not in train["2008_000002"]["label"]

    val, test = read(builder, "val"), read(builder, "test")
    assert sorted(val) == ["2007_000033", "2007_000042"]
    assert sorted(test) == ["2007_000033", "2007_000061"]
    truth = class_map("2007_000033", [6, 2], True)
    np.testing.assert_array_equal(val["2007_000033"]["label"], only(truth, training))
    np.testing.assert_array_equal(test["2007_000033"]["label"], only(truth, held_out))

    objects = test["2007_000033"]["objects"]
    assert list(objects["class_id"]) == list(objects["value"]) == [6]
    assert list(objects["area"]) == [np.count_nonzero(truth == 6)]
    assert builder.info.features["objects"]["class_id"].names[6] == "bus"
    assert "2 in both, 2 of them kept twice" in builder.report[0]


def same(a, b) -> None:
    for split in ("train", "val", "test"):
        left, right = read(a, split), read(b, split)
        assert sorted(left) == sorted(right)
        for key, example in left.items():
            assert example["image"] == right[key]["image"]
            np.testing.assert_array_equal(example["label"], right[key]["label"])


def test_every_layout_gives_the_same_examples(folders, tmp_path):
    reference = prepare("fold1", tmp_path / "folders", folders)
    in_archives = tmp_path / "archives"
    archives(folders, in_archives)
    same(reference, prepare("fold1", tmp_path / "from_archives", in_archives))
    bare = tmp_path / "bare"
    os.rename(folders / sources.VOC_FOLDER, bare)
    os.rename(folders / "benchmark_RELEASE", bare / "benchmark_RELEASE")
    same(reference, prepare("fold1", tmp_path / "from_bare", bare))


def test_dedup_keeps_the_annotation_of_voc(folders, tmp_path):
    train = read(prepare("fold1_dedup", tmp_path / "data", folders), "train")
    assert sorted(train) == ["2008_000002", "2008_000007", "2008_000008", "2008_000019"]
    assert 255 in train["2008_000002"]["label"]


def test_trainaug_is_derived_or_read(folders, tmp_path):
    derived = prepare("fold1_trainaug", tmp_path / "derived", folders)
    train = read(derived, "train")
    expected = ["2008_000002", "2008_000007", "2008_000008", "2008_000019", "2008_000021"]
    assert sorted(train) == expected
    assert 255 in train["2008_000007"]["label"] and 9 not in train["2008_000021"]["label"]
    assert "1 entries left out, being images of VOC val.txt" in derived.report[1]

    voc = folders / sources.VOC_FOLDER
    listed = [i for i in {**VOC_TRAIN, **SBD_TRAIN, **SBD_VAL} if i not in VOC_VAL]
    lines = [f"/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png" for i in listed]
    write_list(voc / "ImageSets/Segmentation/trainaug.txt", lines)
    os.rename(folders / "benchmark_RELEASE", folders / "hidden")
    for image_id in listed:
        mat = folders / f"hidden/dataset/cls/{image_id}.mat"
        label = voc / f"SegmentationClass/{image_id}.png"
        pixels = np.asarray(Image.open(label)) if label.exists() else sources.read_label(mat)
        write_png(voc / f"SegmentationClassAug/{image_id}.png", pixels, mode="L")
    same(derived, prepare("fold1_trainaug", tmp_path / "read", folders))

    alone = prepare("fold1", tmp_path / "alone", folders)
    assert sorted(read(alone, "train")) == ["2008_000002", "2008_000007"]
    assert "neither SBD nor its list" in alone.report[0]
    write_list(voc / "ImageSets/Segmentation/train_noval.txt", ["2008_000002", "2008_000019"])
    with_list = prepare("fold1", tmp_path / "with_list", folders)
    assert sorted(read(with_list, "train")) == ["2008_000002", "2008_000007", "2008_000019"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def remove(path: Path) -> None:
    path.unlink()


def wrong_size(path: Path) -> None:
    write_png(path, np.zeros((41, 50), np.uint8))


def wrong_value(path: Path) -> None:
    write_png(path, np.full(SHAPE, 21, np.uint8))


def colors(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


@pytest.mark.parametrize(
    ("harm", "file", "message"),
    [
        (remove, "VOCdevkit/VOC2012/JPEGImages/2007_000042.jpg", "^1 files .*2007_000042.jpg"),
        (remove, "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "no list .*val.txt"),
        (remove, "VOCdevkit/VOC2012/ImageSets/Main/train.txt", "no list .*Main/train.txt"),
        (cut, "VOCdevkit/VOC2012/JPEGImages/2008_000019.jpg", "000019.jpg is damaged or cut"),
        (cut, "benchmark_RELEASE/dataset/cls/2008_000019.mat", "000019.mat is not a class map"),
        (
            cut,
            "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png",
            "33.png is (damaged|not a picture)",
        ),
        (wrong_size, "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png", r"\(41, 50\) but"),
        (wrong_value, "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png", "holds label 21"),
        (colors, "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png", "has mode RGB"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(folders, tmp_path, harm, file, message):
    harm(folders / file)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare("fold1", tmp_path / "data", folders)
    assert not list((tmp_path / "data").glob("**/dataset_info.json"))
    assert not list((tmp_path / "data").glob("**/*.array_record*"))


def test_a_mat_cut_anywhere_is_a_value_error(tmp_path):
    path = tmp_path / "a.mat"
    write_mat(path, class_map("2008_000002", [1, 7], False))
    whole = path.read_bytes()
    for size in range(0, len(whole) - 8, len(whole) // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="a.mat is not a class map"):
            sources.read_label(path)


def test_a_folder_without_voc_is_refused(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "readme.txt").touch()
    with pytest.raises(FileNotFoundError, match="holds neither VOC 2012"):
        prepare("fold0", tmp_path / "data", tmp_path / "manual")


def test_a_failed_download_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_ask", lambda urls: dict.fromkeys(urls, "no network"))
    with pytest.raises(ValueError, match="^[^\n]*$") as caught:
        prepare("fold0", tmp_path / "data")
    assert all(f"{url} (no network)" in str(caught.value) for url in sources.VOC_URLS)
    assert "fetch VOCtrainval_11-May-2012.tar and benchmark.tgz by other means" in str(caught.value)


def test_a_broken_or_malicious_archive_unpacks_nothing(tmp_path):
    archive, work = tmp_path / "a.tar", tmp_path / "work"
    with tarfile.open(archive, "w") as tar:
        for name in ("top/a.txt", "top/../../../evil.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match="a.tar: .*outside"):
        sources.unpack(archive, ("top/",), work)
    assert not (tmp_path / "evil.txt").exists() and not list(work.glob("*"))
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot unpack"):
        sources.unpack(archive, ("top/",), work)


def test_folder_is_complete():
    folder = Path(sources.__file__).parent
    tags = (folder / "TAGS.txt").read_text().split()
    known = (Path(tfds.__file__).parent / "core/valid_tags.txt").read_text()
    assert tags and all(f"\n{tag} #" in known for tag in tags)
    assert {*sources.VOC_URLS, sources.SBD_URL} == set(Builder.url_infos)
    own, *mirrors = (Builder.url_infos[url] for url in sources.VOC_URLS)
    assert own.filename == sources.VOC_ARCHIVE and mirrors == [own, own]
    assert Builder(config="fold0", data_dir="/nonexistent").info.citation.startswith("@")


@pytest.mark.shared
def test_lattice_gives_the_published_items_of_real_images(shared):
    voc = shared / "data/voc2012_subset" / sources.VOC_FOLDER
    ids = sources.read_list(voc / "ImageSets/Segmentation/val.txt")
    labels = {i: sources.read_label(voc / f"SegmentationClassAug/{i}.png") for i in ids}
    for fold in range(4):
        lines = (shared / f"protocols/oslsm/items_fold{fold}.txt").read_text().splitlines()
        published = {(i, int(c)) for i, c in map(str.split, lines) if i in labels}
        ours = {
            (image_id, found["class_id"])
            for image_id, label in labels.items()
            for found in segmentation.objects(
                label, {c: c for c in range(5 * fold + 1, 5 * fold + 6)}
            )
            if found["lattice_hits"] >= 3
        }
        assert ours == published


@pytest.mark.shared
@pytest.mark.parametrize(
    ("train_list", "entries", "images"),
    [("voc_sbd", 7087, 5953), ("voc_sbd_dedup", 5953, 5953), ("trainaug", 10582, 10582)],
)
def test_full_lists_have_the_published_sizes(shared, tmp_path, train_list, entries, images):
    lists = shared / "protocols/lists"
    voc, sbd = tmp_path / "voc", tmp_path / "sbd"
    for name in ("train", "val", "trainaug"):
        ids = sources.read_list(lists / f"voc2012_{name}.txt")
        write_list(voc / f"ImageSets/Segmentation/{name}.txt", ids)
    noval = sources.read_list(lists / "sbd_train_noval.txt")
    write_list(sbd / "train_noval.txt", noval)
    pictures, report = sources.Source(voc, sbd, tmp_path).training(train_list)
    assert len(pictures) == len({p.image_id for p in pictures}) == entries
    assert len({p.image for p in pictures}) == images
    if train_list == "voc_sbd":
        assert "1464 images of VOC train.txt; 5623 of SBD train_noval.txt; 1134" in report[0]
        # What is derived where that list is not there.
        (sbd / "train_noval.txt").unlink()
        everything = sources.read_list(lists / "voc2012_trainaug.txt")
        write_list(voc / "ImageSets/Main/train.txt", noval)
        write_list(sbd / "train.txt", everything[::2])
        write_list(sbd / "val.txt", everything[1::2])
        derived, _ = sources.Source(voc, sbd, tmp_path).training(train_list)
        assert {p.image_id for p in derived} == {p.image_id for p in pictures}
