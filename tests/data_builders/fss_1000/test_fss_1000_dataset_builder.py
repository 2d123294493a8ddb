import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from PIL import Image

from data_builders.coco_20i import instances
from data_builders.fss_1000 import class_lists
from data_builders.fss_1000.class_lists import PUBLISHED, SUPER_CATEGORIES, super_categories
from data_builders.fss_1000.fss_1000_dataset_builder import ARCHIVE_URL, Builder, Config
from data_builders.pascal_5i import sources

tfds.disable_progress_bar()
# In archive order; the test class needs ten pairs to show that 10 comes after 9.
SPLITS = {"train": ["zebra", "abacus"], "val": ["thor's_hammer"], "test": ["peregine_falcon"]}
CLASSES = [name for names in SPLITS.values() for name in names]
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (224, 224, 3), np.uint8)


def true_mask(size=(224, 224)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[size[0] // 4 : size[0] // 2, size[1] // 8 : size[1] // 2] = True
    return mask


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


JPG = encoded(PHOTO, "JPEG")
PNG = encoded(np.repeat(true_mask()[..., None], 3, 2).astype(np.uint8) * 255)


def archive_files(root="fewshot_data", **changes: bytes | None) -> dict[str, bytes]:
    """The archive's files; `changes` by 'class/number.kind' replaces, adds or (None) removes one."""
    files = {}
    for name in CLASSES:
        for number in range(1, 11):
            files[f"{name}/{number}.jpg"] = JPG
            files[f"{name}/{number}.png"] = PNG
    files |= changes
    return {f"{root}/{name}": data for name, data in files.items() if data is not None}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def write_lists(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in SPLITS.items():
        # The official list has CRLF line ends and no last one.
        (folder / f"{split}.txt").write_bytes("\r\n".join(names).encode())
    return folder


def prepare(tmp_path: Path, files: dict[str, bytes] | bytes | None, **options) -> Builder:
    """Prepares from a zip (bytes) or a folder of `files`, with the lists beside them."""
    manual = write_lists(tmp_path / "manual")
    if isinstance(files, bytes):
        (manual / "any.zip").write_bytes(files)
    for name, data in (files or {}).items() if not isinstance(files, bytes) else ():
        (manual / name).parent.mkdir(parents=True, exist_ok=True)
        (manual / name).write_bytes(data)
    config = Config(name="toy", **options)
    builder = Builder(config=config, data_dir=tmp_path / "out", file_format="array_record")
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=manual),
    )
    return builder


def odd(builder: Builder) -> list[str]:
    """The report without what is said of every toy: its own lists, and an archive's SHA-256."""
    usual = ("the archive's SHA-256", *(f"{split}: the classes of" for split in SPLITS))
    assert sum(line.startswith(usual) for line in builder.report) >= len(SPLITS)
    return [line for line in builder.report if not line.startswith(usual)]


def examples(builder: Builder, split: str) -> list[dict]:
    raw = {name: tfds.decode.SkipDecoding() for name in ("image", "label")}
    return list(builder.as_data_source(split, decoders=raw))


def label_of(example: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(example["label"])))


@pytest.mark.parametrize("root", ["fewshot_data", "FSS-1000", "FSS-1000/data", "."])
def test_every_layout_gives_the_same_examples(tmp_path, root):
    files = archive_files(root)
    builder = prepare(tmp_path, files if root in (".", "FSS-1000") else zipped(files))
    assert {s: i.num_examples for s, i in builder.info.splits.items()} == {
        "train": 20,
        "val": 10,
        "test": 10,
    }
    train = examples(builder, "train")
    ids = [example["image_id"].decode() for example in train]
    assert ids == [f"{name}/{n:02d}" for name in ("abacus", "zebra") for n in range(1, 11)]
    assert ids == sorted(ids)
    names = builder.info.features["objects"]["class_id"].names
    assert len(names) == 1001 and names[0] == "background"
    for example in train:
        assert example["image"] == JPG
        np.testing.assert_array_equal(label_of(example), true_mask())
        found = example["objects"]
        assert [names[i] for i in found["class_id"]] == example["image_id"].decode().split("/")[:1]
        assert found["value"] == [1] and found["area"] == [true_mask().sum()]
    assert SUPER_CATEGORIES[train[0]["super_category"]] == "tool"
    assert SUPER_CATEGORIES[train[-1]["super_category"]] == "land animal"
    (further,) = train[0]["further_super_categories"]
    assert SUPER_CATEGORIES[further] == "daily object"  # an abacus
    assert class_lists.groups()[train[-1]["group"]] == "land animal / hoofed animal"  # a zebra
    assert not len(train[-1]["further_super_categories"])
    assert odd(builder) == []


def test_known_defects_are_handled_and_reported(tmp_path):
    large = RNG.random((622, 629)) < 0.5
    rows, columns = (((np.arange(224) + 0.5) * side / 224).astype(int) for side in large.shape)
    nearest = large[rows][:, columns]
    soft = np.where(true_mask(), 255, 0).astype(np.uint8)
    soft[:2] = 90
    files = archive_files(
        **{
            "abacus/10.jpeg": JPG,
            "zebra/readme.txt": b"hello",
            "zebra/8.png": encoded(large.astype(np.uint8)),
            "thor's_hammer/7.png": encoded(soft),
            "peregine_falcon/8.png": encoded(RNG.integers(0, 256, (300, 260, 3), np.uint8)),
            "unicorn/1.jpg": JPG,
        }
    )
    builder = prepare(tmp_path, zipped(files))
    report = "\n".join(builder.report)
    assert "2 stray files ignored: abacus/10.jpeg, zebra/readme.txt" in report
    assert "unicorn is not a class" in report
    assert "zebra/8.png is 629 x 622, its image 224 x 224" in report
    assert "thor's_hammer: 1 masks with grays" in report
    assert "peregine_falcon/8.png is a photograph, not a mask: kept, cut at half" in report
    assert len(odd(builder)) == 7  # the photograph is soft and of another size, too
    for example in examples(builder, "train") + examples(builder, "val"):
        expected = nearest if example["image_id"] == b"zebra/08" else true_mask()
        np.testing.assert_array_equal(label_of(example), expected)


def test_a_photograph_as_a_mask_is_kept_as_published_or_left_out_by_config(tmp_path):
    files = archive_files(**{"peregine_falcon/8.png": encoded(PHOTO)})
    builder = prepare(tmp_path / "kept", zipped(files))
    test = examples(builder, "test")
    assert len(test) == 10
    reference = np.asarray(Image.fromarray(PHOTO).convert("L")) >= 128  # as HSNet reads it
    np.testing.assert_array_equal(label_of(test[7]), reference)
    assert builder.builder_configs["standard"].keep_photograph_mask
    read = tfds.builder_from_directory(builder.data_dir).info.metadata
    assert "published evaluations" in read["photograph_masks"]

    assert not builder.builder_configs["clean"].keep_photograph_mask
    clean = prepare(tmp_path / "clean", zipped(files), keep_photograph_mask=False)
    assert any("pair left out" in line for line in clean.report)
    assert [example["image_id"][-2:] for example in examples(clean, "test")] == [
        b"01", b"02", b"03", b"04", b"05", b"06", b"07", b"09", b"10",
    ]  # fmt: skip
    assert tfds.builder_from_directory(clean.data_dir).info.metadata["photograph_masks"] == (
        "pairs left out"
    )


BROKEN = {
    "truncated image": ({"abacus/3.jpg": JPG[:2000]}, "abacus/3.jpg is damaged or cut short"),
    "no image": ({"abacus/3.jpg": b"hello"}, "abacus/3.jpg is not a picture"),
    "truncated mask": ({"abacus/4.png": PNG[:150]}, "abacus/4.png is damaged or cut short"),
    "empty mask": ({"abacus/4.png": encoded(np.zeros((224, 224), np.uint8))}, "4.png is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pair_stops_with_one_line_or_is_left_out(tmp_path, case):
    changes, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as caught:
        prepare(tmp_path / "stop", zipped(archive_files(**changes)))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "stop/out").rglob("dataset_info.json"))
    assert not list((tmp_path / "stop/out").rglob("*array_record*"))
    builder = prepare(tmp_path / "skip", zipped(archive_files(**changes)), skip_broken=True)
    assert builder.info.splits["train"].num_examples == 19
    (line,) = odd(builder)
    assert message.split("/")[-1] in line


def test_missing_parts_stop_unless_allowed(tmp_path):
    changes = {f"zebra/{n}.{kind}": None for n in range(1, 11) for kind in ("jpg", "png")}
    changes |= {"thor's_hammer/10.png": None, "thor's_hammer/3.jpg": None}
    data = zipped(archive_files(**changes))
    with pytest.raises(ValueError, match=r"lacks 1 of 4 classes \(first: zebra\).*allow_missing"):
        prepare(tmp_path / "stop", data)
    with pytest.raises(ValueError, match=r"class thor's_hammer lacks 3.jpg, 10.png;"):
        prepare(
            tmp_path / "pairs",
            zipped(archive_files(**{"thor's_hammer/10.png": None, "thor's_hammer/3.jpg": None})),
        )
    builder = prepare(tmp_path / "go", data, allow_missing=True)
    assert builder.info.splits["train"].num_examples == 10
    assert builder.info.splits["val"].num_examples == 8
    assert len(odd(builder)) == 2


@pytest.mark.parametrize(
    "data, message",
    [
        (zipped({"../../evil/1.jpg": JPG}), "points outside"),
        (zipped({"/etc/1.jpg": JPG}), "points outside"),
        (zipped(archive_files())[:-30], "not a zip archive, or was cut short"),
        (zipped({"photos/1.jpg": JPG}), "has no FSS-1000 class among its 1 files"),
    ],
)
def test_bad_archive_is_refused_with_one_line(tmp_path, data, message):
    with pytest.raises(ValueError, match=message) as caught:
        prepare(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("dataset_info.json"))


def test_unknown_and_repeated_names_in_lists_are_refused(tmp_path):
    lists = write_lists(tmp_path / "lists")
    (lists / "val.txt").write_text("peregrine_falcon\n")
    with pytest.raises(ValueError, match="names 1 classes that FSS-1000 does not have"):
        prepare(tmp_path, archive_files(), split_dir=str(lists))
    (lists / "val.txt").write_text("zebra\n")
    with pytest.raises(ValueError, match=r"1 classes twice \(first: zebra\)"):
        prepare(tmp_path, archive_files(), split_dir=str(lists))


class Network:
    """Answers in place of the network: address -> (headers, content)."""

    def __init__(self, monkeypatch, answers: dict[str, tuple[dict, bytes]]):
        def get(session, url, **kwargs):
            response = requests.Response()
            if url not in answers:
                raise requests.ConnectionError(f"no route to {url}")
            response.status_code, response.url = 200, url
            headers, content = answers[url]
            response.headers.update(headers)
            response.raw = io.BytesIO(content)
            return response

        monkeypatch.setattr(requests.Session, "get", get)


CONFIRM_PAGE = b"""<html><form action="https://drive.usercontent.google.com/download">
<input name="id" value="16TgqOeI"><input name="confirm" value="t"></form></html>"""
CONFIRMED = "https://drive.usercontent.google.com/download?id=16TgqOeI&confirm=t"


def test_downloads_through_google_drives_confirmation(tmp_path, monkeypatch):
    Network(
        monkeypatch,
        {ARCHIVE_URL: ({}, CONFIRM_PAGE), CONFIRMED: ({}, zipped(archive_files()))},
    )
    builder = prepare(tmp_path, None)
    assert builder.info.splits["test"].num_examples == 10


def test_refused_and_failed_downloads_say_what_to_do(tmp_path, monkeypatch):
    page = {"Content-Disposition": "attachment; filename=sorry.html"}
    Network(monkeypatch, {ARCHIVE_URL: (page, b"<html>too many downloads</html>")})
    with pytest.raises(ValueError, match="not a zip archive .*--manual_dir") as caught:
        prepare(tmp_path / "page", None)
    assert "\n" not in str(caught.value)
    Network(monkeypatch, {})
    with pytest.raises(
        ValueError, match="cannot download .*fewshot_data.zip .*--manual_dir"
    ) as caught:
        prepare(tmp_path / "offline", None)
    assert "\n" not in str(caught.value)


def classes(tmp_path: Path, **options) -> dict[str, list[str]]:
    builder = Builder(config=Config(name="toy", **options), data_dir=tmp_path / "out")
    builder.report = []
    lists = builder._classes(None)
    assert not builder.report
    return lists


@pytest.mark.shared
def test_shipped_lists_are_the_published_ones(shared):
    for split, file in (("train", "train"), ("val", "val"), ("test", "test_official")):
        data = (shared / f"protocols/lists/fss1000_{file}.txt").read_bytes()
        assert Path(class_lists.__file__).with_name(PUBLISHED[split].file_name).read_bytes() == data


def test_a_changed_list_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(PUBLISHED, "val", PUBLISHED["val"]._replace(sha256="0" * 64))
        with pytest.raises(ValueError, match="val_set.txt was changed; it has to be https://"):
            classes(tmp_path)


def test_random_splits_keep_the_test_classes_or_are_balanced(tmp_path):
    standard = classes(tmp_path)
    assert {split: len(names) for split, names in standard.items()} == {
        "train": 520,
        "val": 240,
        "test": 240,
    }
    assert set().union(*standard.values()) == set(super_categories())
    first, again, other = (classes(tmp_path, random_split=True, seed=s) for s in (1, 1, 2))
    assert first == again and first["train"] != other["train"]
    for lists in (first, other):
        assert set(lists["test"]) == set(standard["test"])
        assert len(lists["train"]) == 520 and len(lists["val"]) == 240
        assert set().union(*lists.values()) == set(super_categories())
    balanced, other = (classes(tmp_path, balanced_split=True, seed=s) for s in (1, 2))
    assert balanced != other and set().union(*balanced.values()) == set(super_categories())
    assert sum(map(len, balanced.values())) == 1000
    for split in ("val", "test"):
        counts = Counter(super_categories()[name] for name in balanced[split])
        assert counts == dict.fromkeys(SUPER_CATEGORIES, 20)


def test_every_class_has_one_of_the_twelve_super_categories():
    table = super_categories()
    assert len(table) == 1000 and set(table.values()) == set(SUPER_CATEGORIES)
    for name, place in class_lists.hierarchy().items():
        assert set(place.also) <= set(SUPER_CATEGORIES) - {place.super_category}, name
    assert class_lists.hierarchy()["apple"] == ("fruit & plant", "fruit", ("food",))
    assert "air animal / song bird" in class_lists.groups() and len(class_lists.groups()) == 95
    lines = Path(class_lists.__file__).with_name("super_categories.csv").read_text().splitlines()
    assert len(lines) == 1001 and lines[1:] == sorted(lines[1:])


def test_real_sample_is_prepared_as_far_as_it_goes(tmp_path, shared):
    """Five pairs of one real class, soft RGBA masks; the other folder is no class of FSS-1000."""
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("african_elephant\nzebra\n")
    for split in ("val", "test"):
        (lists / f"{split}.txt").write_text("")
    config = Config(name="toy", allow_missing=True, split_dir=str(lists))
    builder = Builder(config=config, data_dir=tmp_path / "out", file_format="array_record")
    folder = shared / "data/fss1000_subset"
    builder.download_and_prepare(
        file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=folder)
    )
    found = examples(builder, "train")
    assert [e["image_id"][-2:] for e in found] == [b"03", b"04", b"05", b"06", b"07"]
    assert any("eiffel_tower is not a class" in line for line in builder.report)
    for example in found:
        number = int(example["image_id"][-2:])
        path = folder / f"fewshot_data/african_elephant/{number}.png"
        reference = np.asarray(Image.open(path).convert("L")) >= 128  # as HSNet reads it
        np.testing.assert_array_equal(label_of(example), reference)


def test_objects_of_other_datasets_are_known_by_class():
    common = class_lists.common_objects()
    assert set(common) <= set(super_categories())
    assert set(common.values()) <= set(instances.CLASS_NAMES)
    assert set(class_lists.VOC_NAMES) <= set(sources.CLASS_NAMES)
    assert {class_lists.VOC_NAMES.get(n, n) for n in sources.CLASS_NAMES} <= set(
        instances.CLASS_NAMES
    )
    assert class_lists.shown_by(["mouse", "computer_mouse"], ["mouse", "tv"]) == {"computer_mouse"}
    assert class_lists.shown_by(["television", "apple"], ["tvmonitor", "dog"]) == {"television"}
    assert class_lists.shown_by(["apple", "bus"], ["apple", "pear"]) == {"apple"}
