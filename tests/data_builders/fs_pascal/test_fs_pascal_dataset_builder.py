"""fsPASCAL from a miniature of VOC, the rules that choose pairs, and real images."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import prepare as prepare_module
from data_builders.fs_pascal import Builder, pairs
from data_builders.pascal_5i import sources

SHAPES = {"2007_000033": (224, 448), "2007_000042": (230, 300)}
SHAPES |= {"2008_000002": (224, 449), "2008_000003": (223, 300)}  # too long, too small
LISTS = {"train": ["2008_000002", "2007_000033"], "val": ["2007_000042", "2008_000003"]}
BIRD, BUS, CAR = 3, 6, 7


def label_map(image_id: str) -> np.ndarray:
    label = np.zeros(SHAPES[image_id], np.uint8)
    label[10:110, 10:130] = 255
    label[15:105, 15:125] = BUS
    label[50:60, 50:60] = BIRD
    if image_id == "2007_000042":
        label[label == BUS] = CAR
    return label


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "manual"
    folder = root / sources.VOC_FOLDER
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for image_id, shape in SHAPES.items():
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"JPEGImages/{image_id}.jpg")
        Image.fromarray(label_map(image_id)).save(folder / f"SegmentationClass/{image_id}.png")
    for name, ids in LISTS.items():
        (folder / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(ids))
    return root


def prepare(config: str, data_dir: Path, manual_dir: Path | None = None, **options):
    folder = prepare_module.prepare("fs_pascal", config, data_dir, manual_dir, options)
    return tfds.builder_from_directory(folder)


def read(builder, split: str) -> dict[str, dict]:
    raw = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
    examples = {}
    for example in builder.as_data_source(split, decoders=raw):
        example["label"] = np.asarray(Image.open(io.BytesIO(example["label"])))
        examples[example["image_id"].decode()] = example
    return examples


def test_every_pair_is_an_example(voc, tmp_path):
    builder = prepare("fold1", tmp_path / "data", voc)  # 6 to 10 are held out
    train, test = read(builder, "train"), read(builder, "test")
    assert sorted(train) == ["2007_000033_3", "2007_000042_3"]
    assert sorted(test) == ["2007_000033_6", "2007_000042_7"]
    for image_id, class_id, example in (
        ("2007_000033", BIRD, train["2007_000033_3"]),
        ("2007_000042", CAR, test["2007_000042_7"]),
    ):
        full = label_map(image_id)
        expected = np.where(full == class_id, 1, np.where(full == 255, 255, 0))
        np.testing.assert_array_equal(example["label"], expected)
        objects = example["objects"]
        assert (list(objects["class_id"]), list(objects["value"])) == ([class_id], [1])
        assert list(objects["area"]) == [np.count_nonzero(full == class_id)]
        path = voc / sources.VOC_FOLDER / f"JPEGImages/{image_id}.jpg"
        assert example["image"] == path.read_bytes()
    report = (Path(builder.data_dir) / prepare_module.REPORT).read_text()
    assert "4 pictures with 8 (image, class) pairs; the clean-up leaves out 2 pictures" in report
    assert "2 pictures are in both splits" in report


def test_without_clean_up_and_from_the_archive(voc, tmp_path, serve):
    reference = prepare("fold1", tmp_path / "a", voc, clean_up="false")
    assert len(read(reference, "train")) == len(read(reference, "test")) == 4
    archive = tmp_path / "VOCtrainval_11-May-2012.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(voc / "VOCdevkit", "VOCdevkit")

    asked = serve({archive.name: archive})
    builder = prepare("fold1", tmp_path / "b", clean_up="false")
    assert asked == [sources.VOC_URLS[0]]  # and nothing of SBD
    for split in ("train", "test"):
        assert sorted(read(builder, split)) == sorted(read(reference, split))


def test_broken_pictures_stop_or_are_left_out(voc, tmp_path):
    path = voc / sources.VOC_FOLDER / "JPEGImages/2007_000042.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="42.jpg is .*; or --option skip_broken=true"):
        prepare("fold1", tmp_path / "a", voc)
    builder = prepare("fold1", tmp_path / "b", voc, skip_broken="true")
    assert sorted(read(builder, "test")) == ["2007_000033_6"]
    assert "42.jpg" in (Path(builder.data_dir) / prepare_module.REPORT).read_text()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="1 files of images .*42.jpg"):
        prepare("fold1", tmp_path / "c", voc)
    assert not list((tmp_path / "c").glob("**/*.array_record*"))


@pytest.mark.parametrize(
    ("height", "width", "clean"),
    [(224, 224, True), (223, 224, False), (224, 448, True), (448, 224, True), (224, 449, False)],
)
def test_clean_up_is_the_paper_s(height, width, clean):
    assert pairs.is_clean(height, width) is clean


def test_a_limit_keeps_the_same_pairs_whatever_else_is_there():
    scenes = [
        pairs.Scene(f"{n}", (300, 300), frozenset({1, 2} if n % 2 else {1}), load=tuple)
        for n in range(40)
    ]

    def kept(some: list[pairs.Scene]) -> set[str]:
        config = pairs.Config(name="x", pairs_per_class=5)
        chosen = pairs.choose(some, {2}, config, [])
        assert [len(chosen[split]) for split in ("train", "test")] == [5, 5]
        return {
            pairs.pair_id(s.image_id, c) for rows in chosen.values() for s, cs in rows for c in cs
        }

    everything = kept(scenes)
    assert kept(scenes[::-1]) == everything
    half = kept(scenes[:30])
    assert {name for name in everything if int(name.split("_")[0]) < 30} <= half
    assert everything != kept(scenes[10:])


def test_folder_is_complete():
    folder = Path(pairs.__file__).parent
    tags = (folder / "TAGS.txt").read_text().split()
    known = (Path(tfds.__file__).parent / "core/valid_tags.txt").read_text()
    assert tags and all(f"\n{tag} #" in known for tag in tags)
    assert set(Builder.url_infos) == {*sources.VOC_URLS}
    assert Builder(config="fold0", data_dir="/nonexistent").info.citation.startswith("@")


@pytest.mark.shared
def test_real_subset(shared, tmp_path):
    """No VOC image at hand fails the clean-up, so every pair of the masks is an example."""
    real, folder = shared / "data/voc2012_subset" / sources.VOC_FOLDER, tmp_path / "VOC2012"
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    for part in ("JPEGImages", "SegmentationClassAug"):
        (folder / part).symlink_to(real / part)
    expected = set()
    for name in LISTS:
        ids = sources.read_list(real / f"ImageSets/Segmentation/{name}.txt")[::12]
        (folder / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(ids))
        for i in ids:
            values = np.unique(Image.open(folder / f"SegmentationClassAug/{i}.png"))
            expected |= {f"{i}_{value}" for value in values if value not in (0, 255)}
    builder = prepare("fold1", tmp_path / "data", tmp_path)
    names = {s: [e["image_id"].decode() for e in builder.as_data_source(s)] for s in pairs.SPLITS}
    assert sorted(sum(names.values(), [])) == sorted(expected)
    assert {int(name.split("_")[-1]) for name in names["test"]} <= {6, 7, 8, 9, 10}
