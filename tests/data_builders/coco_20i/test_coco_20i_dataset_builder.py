"""COCO-20i from folders and archives in the true format, and on real images."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import prepare as prepare_module
from data_builders.coco_20i import Builder, instances

tfds.disable_progress_bar()
HEIGHT, WIDTH = 40, 60
PERSON, BICYCLE, CAR, MOTORCYCLE, AIRPLANE, TABLE = 1, 2, 3, 4, 5, 61
# COCO's own ids have gaps: these six happen to show them.
COCO_ID = {PERSON: 1, BICYCLE: 2, CAR: 3, MOTORCYCLE: 4, AIRPLANE: 5, TABLE: 67}


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def crowd(left: int, right: int) -> dict:
    """A run-length code of whole columns."""
    runs = [left * HEIGHT, (right - left) * HEIGHT, (WIDTH - right) * HEIGHT]
    return {"size": [HEIGHT, WIDTH], "counts": runs}


# part -> image number -> [(class id, segmentation)]; a person in the last columns is a crowd.
SCENES = {
    "train2017": {
        9: [
            (BICYCLE, box(5, 5, 15, 15)),
            (TABLE, box(0, 0, 30, 20)),
            (PERSON, box(10, 10, 20, 18)),
        ],
        25: [(PERSON, box(1, 1, 9, 9))],
        30: [],
        34: [(CAR, box(2, 2, 40, 30)), (MOTORCYCLE, box(4, 4, 8, 8)), (CAR, crowd(45, 60))],
        36: [(CAR, crowd(0, 5))],
    },
    "val2017": {
        139: [(PERSON, box(30, 5, 50, 35)), (CAR, box(35, 10, 40, 20)), (PERSON, crowd(45, 60))],
        285: [(AIRPLANE, box(0, 0, 60, 40)), (BICYCLE, box(0, 0, 60, 40))],
        632: [(CAR, box(3, 3, 20, 20))],
    },
}


def name(number: int) -> str:
    return f"{number:012d}"


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    # Grayscale files occur in COCO too.
    Image.fromarray(pixels).convert("L" if number == 25 else "RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def annotations(part: str) -> dict:
    images = [
        {"id": number, "file_name": f"{name(number)}.jpg", "height": HEIGHT, "width": WIDTH}
        for number in SCENES[part]
    ]
    listed = [
        {
            "id": 100 * number + n,
            "image_id": number,
            "category_id": COCO_ID[class_id],
            "iscrowd": int(isinstance(region, dict)),
            "segmentation": region,
        }
        for number, regions in SCENES[part].items()
        for n, (class_id, region) in enumerate(regions)
    ]
    categories = [{"id": i, "name": instances.CLASS_NAMES[c - 1]} for c, i in COCO_ID.items()]
    return {"images": images, "annotations": listed, "categories": categories}


@pytest.fixture
def coco(tmp_path) -> Path:
    """COCO 2017 in miniature, unpacked."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for part, scenes in SCENES.items():
        (root / part).mkdir()
        for number in scenes:
            (root / part / f"{name(number)}.jpg").write_bytes(jpeg(number))
        (root / f"annotations/instances_{part}.json").write_text(json.dumps(annotations(part)))
    return root


def pack(root: Path, to: Path) -> dict[str, Path]:
    to.mkdir()
    paths = {part: to / Path(url).name for part, url in instances.URLS.items()}
    for part, path in paths.items():
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((root / part).iterdir()):
                archive.write(file, f"{part}/{file.name}")
    return paths


def prepare(
    config: str, data_dir: Path, manual_dir: Path | None = None, **options
) -> tfds.core.DatasetBuilder:
    folder = prepare_module.prepare("coco_20i", config, data_dir, manual_dir, options)
    return tfds.builder_from_directory(folder)


def report(builder: tfds.core.DatasetBuilder) -> list[str]:
    return (Path(builder.data_dir) / prepare_module.REPORT).read_text().splitlines()


def read(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, dict]:
    raw = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
    examples = {}
    for example in builder.as_data_source(split, decoders=raw):
        example["label"] = np.asarray(Image.open(io.BytesIO(example["label"])))
        examples[example["image_id"].decode()] = example
    return examples


def canvas(*rectangles: tuple[int, tuple[int, int, int, int]]) -> np.ndarray:
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, (left, top, right, bottom) in rectangles:
        label[top:bottom, left:right] = value
    return label


def test_fold0_holds_out_every_fourth_class(coco, tmp_path):
    builder = prepare("fold0", tmp_path / "data", coco)
    train, val, test = (read(builder, split) for split in ("train", "val", "test"))

    # Person and table (and airplane) are novel in fold 0; the person still covers the bicycle.
    assert sorted(train) == [name(9), name(34)]
    np.testing.assert_array_equal(
        train[name(9)]["label"], canvas((BICYCLE, (5, 5, 15, 15)), (0, (10, 10, 20, 18)))
    )
    np.testing.assert_array_equal(
        train[name(34)]["label"],
        canvas((255, (45, 0, 60, 40)), (CAR, (2, 2, 40, 30)), (MOTORCYCLE, (4, 4, 8, 8))),
    )
    assert train[name(9)]["image"] == (coco / f"train2017/{name(9)}.jpg").read_bytes()

    assert sorted(val) == [name(139), name(285), name(632)]
    np.testing.assert_array_equal(val[name(139)]["label"], canvas((CAR, (35, 10, 40, 20))))
    # Of equal size: the order of the file decides.
    np.testing.assert_array_equal(val[name(285)]["label"], canvas((BICYCLE, (0, 0, 60, 40))))

    assert sorted(test) == [name(139)]
    label = test[name(139)]["label"]
    person = canvas((255, (45, 0, 60, 40)), (PERSON, (30, 5, 50, 35)), (0, (35, 10, 40, 20)))
    np.testing.assert_array_equal(label, person)
    found = test[name(139)]["objects"]
    assert list(found["class_id"]) == list(found["value"]) == [PERSON]
    assert list(found["area"]) == [20 * 30 - 5 * 10]
    assert builder.info.features["objects"]["class_id"].names[TABLE] == "dining table"
    assert any("test: 1 images, 1 (image, class) items; 2 of 3" in line for line in report(builder))
    assert any("1 items vanish" in line for line in report(builder) if line.startswith("test"))


def test_blocks_hold_out_successive_classes(coco, tmp_path):
    with pytest.raises(ValueError, match="test: no listed image shows one of its 20 classes"):
        prepare("fold3_block", tmp_path / "a", coco)  # 61 to 80, and val2017 has no table
    change(coco, "val2017", lambda c: c["annotations"][-1].update(category_id=COCO_ID[TABLE]))
    builder = prepare("fold3_block", tmp_path / "b", coco)
    assert sorted(read(builder, "train")) == [name(n) for n in (9, 25, 34)]
    assert sorted(read(builder, "val")) == [name(139), name(285)]
    assert sorted(read(builder, "test")) == [name(632)]


def test_folds_partition_the_classes():
    everything = list(range(1, 81))
    for blocks in (False, True):
        folds = [instances.held_out(fold, blocks) for fold in range(4)]
        assert sorted(sum(folds, [])) == everything
        assert all(len(fold) == 20 for fold in folds)
    assert instances.held_out(2)[:3] == [3, 7, 11]
    assert instances.held_out(2, blocks=True)[:3] == [41, 42, 43]


def test_archives_give_the_same_examples(coco, tmp_path, serve):
    paths = pack(coco, tmp_path / "zips")
    reference = prepare("fold0", tmp_path / "folders", coco)
    beside = prepare("fold0", tmp_path / "zipped", tmp_path / "zips")
    asked = serve({Path(url).name: paths[part] for part, url in instances.URLS.items()})
    fetched = prepare("fold0", tmp_path / "fetched")
    assert asked == [*instances.URLS.values()]
    for split in ("train", "val", "test"):
        expected = read(reference, split)
        for builder in (beside, fetched):
            examples = read(builder, split)
            assert sorted(examples) == sorted(expected)
            for key, example in examples.items():
                assert example["image"] == expected[key]["image"]
                np.testing.assert_array_equal(example["label"], expected[key]["label"])


def test_missing_and_broken_files_can_be_left_out(coco, tmp_path):
    (coco / f"train2017/{name(9)}.jpg").unlink()
    broken = coco / f"val2017/{name(632)}.jpg"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images .*\(first: 000000000009.jpg\)"):
        prepare("fold0", tmp_path / "a", coco)
    with pytest.raises(ValueError, match="val2017/000000000632.jpg is not a whole image"):
        prepare("fold0", tmp_path / "b", coco, allow_missing="true")
    builder = prepare("fold0", tmp_path / "c", coco, allow_missing="true", skip_broken="true")
    assert sorted(read(builder, "train")) == [name(34)]
    assert sorted(read(builder, "val")) == [name(139), name(285)]
    said = "\n".join(report(builder))
    assert "000000000009.jpg): left out" in said and "632.jpg is not a whole image" in said


def change(coco: Path, part: str, edit) -> None:
    path = coco / f"annotations/instances_{part}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("categories"), "instances_val2017.json is not an instance file of COCO"),
        (lambda c: c["categories"][0].update(name="unicorn"), "'unicorn' is none of COCO's 80"),
        (lambda c: c["annotations"][0].update(image_id=7), "not an instance file of COCO: KeyErr"),
        (lambda c: c["images"][0].update(width=61), r"139.jpg is 40 x 60 .* say 40 x 61"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]),
            "annotation of val2017/000000000139.jpg: a polygon has 3",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [4, 4], "counts": [16]}),
            r"a run-length code covers 16 pixels of a \[4, 4\] image",
        ),
    ],
)
def test_a_bad_list_is_one_clear_line(coco, tmp_path, edit, message):
    change(coco, "val2017", edit)
    with pytest.raises(ValueError, match=message) as caught:
        prepare("fold0", tmp_path / "data", coco)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").glob("**/*.array_record*"))


def test_missing_parts_are_named(coco, tmp_path):
    (coco / "annotations/instances_val2017.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(FileNotFoundError, match="no .*annotations/instances_val2017.json"):
        prepare("fold0", tmp_path / "a", coco)
    (coco / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="neither a folder train2017 nor train2017.zip"):
        prepare("fold0", tmp_path / "b", coco)


def test_folder_is_complete():
    folder = Path(instances.__file__).parent
    known = (Path(tfds.__file__).parent / "core/valid_tags.txt").read_text()
    tags = (folder / "TAGS.txt").read_text().split()
    assert tags and all(f"\n{tag} #" in known for tag in tags)
    assert set(instances.URLS.values()) == set(Builder.url_infos)
    assert Builder(config="fold0", data_dir="/nonexistent").info.citation.startswith("@")


@pytest.mark.shared
def test_real_subset(shared, tmp_path):
    folder = shared / "data/coco_subset"
    builder = prepare("fold0", tmp_path, folder)
    content = json.loads((folder / "annotations/instances_val2017.json").read_text())
    class_of = {c["id"]: instances.CLASS_NAMES.index(c["name"]) + 1 for c in content["categories"]}
    area = {}
    for a in content["annotations"]:
        item = (f"{a['image_id']:012d}", class_of[a["category_id"]])
        area[item] = area.get(item, 0) + a["area"]
    novel = set(instances.held_out(0))
    found = {
        (image_id, int(c)): int(n)
        for image_id, example in read(builder, "test").items()
        for c, n in zip(example["objects"]["class_id"], example["objects"]["area"], strict=True)
    }
    assert set(found) == {item for item in area if item[1] in novel}
    # Objects hide parts of larger ones: labelled areas fall below the annotated ones, rarely above.
    assert all(found[item] <= area[item] + np.sqrt(area[item]) + 1 for item in found)
    assert 0.8 < sum(found.values()) / sum(area[item] for item in found) < 1
