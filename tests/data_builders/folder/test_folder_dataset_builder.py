import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import pictures
from data_builders.folder.folder_dataset_builder import Builder, Config
from data_builders.prepare import main as prepare_command

tfds.disable_progress_bar()
RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
MASK = np.zeros((40, 60), bool)
MASK[5:30, 10:50] = True


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def prepare(folder: Path, out: Path, **options) -> Builder:
    builder = Builder(
        config=Config(name="toy", **options), data_dir=out, file_format="array_record"
    )
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=folder),
    )
    return builder


def examples(builder: Builder, split: str = "test") -> dict[str, dict]:
    source = tfds.builder_from_directory(builder.data_dir).as_data_source(
        split, decoders={name: tfds.decode.SkipDecoding() for name in ("image", "label")}
    )
    return {example["image_id"].decode(): example for example in source}


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_command_prepares_it(tmp_path, capsys):
    make_classes(tmp_path / "in", "abcd")
    command = ["folder", "--manual_dir", str(tmp_path / "in"), "--data_dir", str(tmp_path / "out")]
    prepare_command([*command, "--option", "train=0.5", "--option", "title=mine"])
    (folder,) = (tmp_path / "out/folder").glob("*title-mine*/1.0.0")
    splits = tfds.builder_from_directory(folder).info.splits
    assert {name: split.num_examples for name, split in splits.items()} == {"train": 2, "test": 2}
    (tmp_path / "in/a/1.png").unlink()
    with pytest.raises(SystemExit) as caught:
        prepare_command(command)
    assert caught.value.code == 2
    assert "a/1.jpg is alone" in capsys.readouterr().err


def class_of(builder: Builder, example: dict) -> str:
    (class_id,) = example["objects"]["class_id"]
    # Read back from disk: the names are only known from the data.
    features = tfds.builder_from_directory(builder.data_dir).info.features
    return features["objects"]["class_id"].names[class_id]


LAYOUTS = {
    "folders": ("images/{}.jpg", "masks/{}.png"),
    "release": ("image/{}.jpg", "label/{}.png"),
    "side by side": ("{}.jpg", "{}.png"),
    "suffix": ("{}.png", "{}_mask.png"),
    "folders and suffix": ("images/{}.jpeg", "masks/{}_mask.tif"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_examples(tmp_path, layout):
    image, mask = LAYOUTS[layout]
    for name in ("cat", "big dog"):
        for stem in ("a", "b 2"):
            save(tmp_path / "in" / name / image.format(stem), RGB)
            save(tmp_path / "in" / name / mask.format(stem), MASK.astype(np.uint8) * 255)
    (tmp_path / "in/cat/notes.txt").write_text("hello")
    builder = prepare(tmp_path / "in", tmp_path / "out")
    found = examples(builder)
    assert list(found) == ["big_dog/a", "big_dog/b_2", "cat/a", "cat/b_2"]
    for image_id, example in found.items():
        np.testing.assert_array_equal(decoded(example["label"]), MASK)
        assert class_of(builder, example) == image_id.split("/")[0].replace("_", " ")
    stored = (tmp_path / "in/cat" / image.format("a")).read_bytes()
    assert found["cat/a"]["image"] == stored
    assert builder.report == []


def test_unusual_pictures_become_plain_ones(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "in/cat/turned.jpg", RGB, exif=exif, quality=95)
    save(tmp_path / "in/cat/turned.png", np.rot90(MASK, -1).astype(np.uint8))
    save(tmp_path / "in/cat/alpha.webp", np.dstack([RGB, np.full_like(MASK, 255, np.uint8)]))
    save(tmp_path / "in/cat/alpha.png", MASK)
    for example in examples(prepare(tmp_path / "in", tmp_path / "out")).values():
        assert pictures.is_plain(example["image"])
        assert decoded(example["image"]).shape[:2] == decoded(example["label"]).shape
        np.testing.assert_array_equal(
            decoded(example["image"]), pictures.to_rgb(pictures.open_picture(example["image"]))
        )


def make_classes(folder: Path, names: str) -> Path:
    for name in names:
        save(folder / name / "1.jpg", RGB)
        save(folder / name / "1.png", MASK)
    return folder


def split_classes(builder: Builder) -> dict[str, set[str]]:
    return {s: {i.split("/")[0] for i in examples(builder, s)} for s in builder.info.splits}


def test_classes_are_split_by_lists(tmp_path):
    folder = make_classes(tmp_path / "in", "abcd")
    (folder / "train.txt").write_text("b\nc\n\n")
    (folder / "test.txt").write_text("a")
    builder = prepare(folder, tmp_path / "out")
    assert split_classes(builder) == {"train": {"b", "c"}, "test": {"a"}}
    assert builder.report == ["1 classes are in no list, left out: d"]
    (folder / "val.txt").write_text("b")
    with pytest.raises(ValueError, match="class 'b' is listed in two splits"):
        prepare(folder, tmp_path / "twice")
    (folder / "val.txt").write_text("e")
    with pytest.raises(ValueError, match="names 'e', but there is no such class folder"):
        prepare(folder, tmp_path / "unknown")
    with pytest.raises(ValueError, match="give no shares beside"):
        prepare(folder, tmp_path / "both", train=0.5)


def test_classes_are_split_by_shares(tmp_path):
    folder = make_classes(tmp_path / "in", "abcdefghij")
    drawn = [
        split_classes(prepare(folder, tmp_path / str(i), train=0.5, val=0.2, seed=seed))
        for i, seed in enumerate((1, 1, 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for splits in drawn:
        assert {split: len(names) for split, names in splits.items()} == {
            "train": 5,
            "val": 2,
            "test": 3,
        }
        assert set().union(*splits.values()) == set("abcdefghij")
    with pytest.raises(ValueError, match="no shares of 1"):
        prepare(folder, tmp_path / "much", train=0.8, val=0.5)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


BROKEN = {
    "2.jpg is alone": lambda d: (d / "2.png").unlink(),
    "2.png is alone": lambda d: (d / "2.jpg").unlink(),
    "2.png is 60 x 39, its image 60 x 40": lambda d: save(d / "2.png", MASK[1:]),
    "2.png is empty": lambda d: save(d / "2.png", MASK & False),
    "2.jpg is damaged or cut short": lambda d: truncate(d / "2.jpg"),
    "2.png is not a picture": lambda d: (d / "2.png").write_text("hello"),
    "2.png looks like a photograph": lambda d: save(d / "2.png", RGB),
}


@pytest.mark.parametrize("message", BROKEN)
def test_unusable_pair_stops_with_one_line_or_is_left_out(tmp_path, message):
    folder = make_classes(tmp_path / "in", "ab")
    save(folder / "b/2.jpg", RGB)
    save(folder / "b/2.png", MASK)
    BROKEN[message](folder / "b")
    with pytest.raises(ValueError, match=message) as caught:
        prepare(folder, tmp_path / "stop")
    assert "\n" not in str(caught.value) and "skip_broken" in str(caught.value)
    assert not list((tmp_path / "stop").rglob("dataset_info.json"))
    builder = prepare(folder, tmp_path / "skip", skip_broken=True)
    assert list(examples(builder)) == ["a/1", "b/1"]
    assert len(builder.report) == 1 and message in builder.report[0]


def test_unclear_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give your folder as --manual_dir"):
        prepare(tmp_path / "absent", tmp_path / "out")
    folder = tmp_path / "in"
    (folder / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="no class folder with pictures; expected CLASS/images"):
        prepare(folder, tmp_path / "out")
    make_classes(folder, "c")
    assert "cat has no pair" in prepare(folder, tmp_path / "out").report[0]
    save(folder / "c/1.bmp", RGB)
    with pytest.raises(ValueError, match="share a name"):
        prepare(folder, tmp_path / "out2")
    (folder / "c/1.bmp").unlink()
    for stem in ("a b", "a_b"):
        save(folder / f"c/{stem}.jpg", RGB)
        save(folder / f"c/{stem}.png", MASK)
    with pytest.raises(ValueError, match="differ only in blanks"):
        prepare(folder, tmp_path / "out2")
    (folder / "c/a_b.jpg").rename(folder / "c/d.jpg")
    (folder / "c/a_b.png").rename(folder / "c/d.png")
    make_classes(folder, ["background"])
    with pytest.raises(ValueError, match="can not be called background"):
        prepare(folder, tmp_path / "out3")


def test_real_folder(tmp_path, shared):
    """Two classes in FSS-1000's layout: 0/1 RGB masks, and RGBA with soft edges."""
    builder = prepare(shared / "data/fss1000_subset/fewshot_data", tmp_path)
    found = examples(builder)
    assert len(found) == 10
    assert builder.report == [
        "class african_elephant: 5 masks with grays, cut at half of the range"
    ]
    for image_id, example in found.items():
        assert class_of(builder, example) == image_id.split("/")[0]
        assert 0.01 < decoded(example["label"]).mean() < 0.5


def test_label_maps_are_refused_until_it_is_said_what_is_meant(tmp_path):
    folder = make_classes(tmp_path / "in", "ab")
    ids = MASK.astype(np.uint8)
    ids[5:10, 10:50] = 2
    save(folder / "b/1.png", ids)
    with pytest.raises(ValueError, match=r"b/1.png is a label map .*--option mask_values=1,2 "):
        prepare(folder, tmp_path / "stop")
    found = examples(prepare(folder, tmp_path / "all", mask_values="1,2,255"))
    np.testing.assert_array_equal(decoded(found["b/1"]["label"]), MASK)
    # One class, two ids in two files.
    save(folder / "b/1.png", MASK.astype(np.uint8))
    save(folder / "b/2.jpg", RGB)
    save(folder / "b/2.png", MASK.astype(np.uint8) * 2)
    with pytest.raises(ValueError, match=r"b/2.png marks the value 2, .*b/1.png the value 1"):
        prepare(folder, tmp_path / "stop2")
    found = examples(prepare(folder, tmp_path / "one", mask_values="2", skip_broken=True))
    assert list(found) == ["b/2"]
