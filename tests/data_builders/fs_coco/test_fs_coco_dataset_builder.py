"""fsCOCO from a miniature of COCO, and on real images."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders import prepare as prepare_module
from data_builders.coco_20i import instances
from data_builders.fs_coco import Builder
from data_builders.fs_coco.fs_coco_dataset_builder import PAIRS_PER_CLASS

HEIGHT, WIDTH = 240, 320
PERSON, CAR = 1, 3
SIZES = {9: (HEIGHT, WIDTH), 25: (200, 320), 139: (HEIGHT, WIDTH)}  # 25 fails the clean-up
PARTS = {"train2017": (9, 25), "val2017": (139,)}


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(number: int, class_id: int, region) -> dict:
    crowd = int(isinstance(region, dict))
    return {"image_id": number, "category_id": class_id, "iscrowd": crowd, "segmentation": region}


@pytest.fixture
def coco(tmp_path) -> Path:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for part, numbers in PARTS.items():
        (root / part).mkdir()
        content = {"categories": [{"id": PERSON, "name": "person"}, {"id": CAR, "name": "car"}]}
        content["images"], content["annotations"] = [], []
        for number in numbers:
            height, width = SIZES[number]
            name = f"{number:012d}.jpg"
            pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(root / part / name)
            content["images"].append(
                {"id": number, "file_name": name, "height": height, "width": width}
            )
            crowd = {
                "size": [height, width],
                "counts": [height * 300, height * (width - 300)],
            }
            content["annotations"] += [
                annotation(number, PERSON, box(10, 10, 110, 60)),
                annotation(number, CAR, box(50, 20, 100, 40)),
                annotation(number, PERSON, crowd),
            ]
        (root / f"annotations/instances_{part}.json").write_text(json.dumps(content))
    return root


def prepare(config: str, data_dir: Path, manual_dir: Path, **options):
    folder = prepare_module.prepare("fs_coco", config, data_dir, manual_dir, options)
    return tfds.builder_from_directory(folder)


def read(builder, split: str) -> dict[str, dict]:
    raw = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}
    examples = {}
    for example in builder.as_data_source(split, decoders=raw):
        example["label"] = np.asarray(Image.open(io.BytesIO(example["label"])))
        examples[example["image_id"].decode()] = example
    return examples


def test_every_pair_is_an_example(coco, tmp_path):
    builder = prepare("fold0_all", tmp_path / "data", coco)
    train, test = read(builder, "train"), read(builder, "test")
    assert sorted(train) == ["000000000009_3", "000000000139_3"]
    assert sorted(test) == ["000000000009_1", "000000000139_1"]
    car = np.zeros((HEIGHT, WIDTH), np.uint8)
    car[20:40, 50:100] = 1
    np.testing.assert_array_equal(train["000000000009_3"]["label"], car)
    person = np.zeros((HEIGHT, WIDTH), np.uint8)
    person[:, 300:] = 255
    person[10:60, 10:110] = 1
    person[20:40, 50:100] = 0  # the car is in front
    np.testing.assert_array_equal(test["000000000009_1"]["label"], person)
    objects = test["000000000009_1"]["objects"]
    assert list(objects["class_id"]) == list(objects["value"]) == [1]
    assert list(objects["area"]) == [50 * 100 - 20 * 50]
    image = (coco / "train2017/000000000009.jpg").read_bytes()
    assert train["000000000009_3"]["image"] == test["000000000009_1"]["image"] == image
    report = (Path(builder.data_dir) / prepare_module.REPORT).read_text()
    assert "3 pictures with 6 (image, class) pairs; the clean-up leaves out 1 pictures" in report


def test_options(coco, tmp_path):
    limited = prepare("fold0", tmp_path / "a", coco, pairs_per_class="1", clean_up="false")
    assert len(read(limited, "train")) == len(read(limited, "test")) == 1
    (coco / "val2017/000000000139.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 1 images"):
        prepare("fold0", tmp_path / "b", coco)
    builder = prepare("fold0", tmp_path / "c", coco, allow_missing="true")
    assert sorted(read(builder, "train")) == ["000000000009_3"]
    configs = Builder.builder_configs
    assert configs["fold0"].pairs_per_class == PAIRS_PER_CLASS
    assert configs["fold3_all"].pairs_per_class == 0 and configs["fold3_all"].fold == 3


def test_folder_is_complete():
    folder = Path(prepare_module.__file__).parent / "fs_coco"
    tags = (folder / "TAGS.txt").read_text().split()
    known = (Path(tfds.__file__).parent / "core/valid_tags.txt").read_text()
    assert tags and all(f"\n{tag} #" in known for tag in tags)
    assert set(Builder.url_infos) == set(instances.URLS.values())
    assert Builder(config="fold0", data_dir="/nonexistent").info.citation.startswith("@")


@pytest.mark.shared
def test_real_subset(shared, tmp_path):
    """Of every fifth image of the subset, each annotated class becomes an example."""
    real, root = shared / "data/coco_subset", tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    expected = {"train": 0, "test": 0}
    for part in PARTS:
        (root / part).symlink_to(real / part)
        content = json.loads((real / f"annotations/instances_{part}.json").read_text())
        content["images"] = content["images"][::5]
        ids = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
        (root / f"annotations/instances_{part}.json").write_text(json.dumps(content))
        clean = {
            image["id"]
            for image in content["images"]
            if min(image["height"], image["width"]) >= 224
            and 0.5 <= image["width"] / image["height"] <= 2  # FSS 3.1
        }
        names = {c["id"]: c["name"] for c in content["categories"]}
        annotated = {(a["image_id"], names[a["category_id"]]) for a in content["annotations"]}
        for image_id, name in annotated:
            held_out = instances.CLASS_NAMES.index(name) % 4 == 0
            expected["test" if held_out else "train"] += image_id in clean
    builder = prepare("fold0", tmp_path / "data", root)
    assert {s: info.num_examples for s, info in builder.info.splits.items()} == expected
