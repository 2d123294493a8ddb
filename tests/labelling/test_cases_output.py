"""What `label` leaves behind: read by other tools, resumed, and a person's edits kept."""

import json
import logging
import os

import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders.masks import Choice, Unclear
from fss_jax import Segmenter
from fss_jax.labelling import convert, formats, job, supports, tiles
from fss_jax.labelling.labels import Labels
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.prediction import Prediction


@pytest.fixture(autouse=True)
def both_signs(monkeypatch):
    """A fresh network's logits have one sign everywhere; masks shall have two values."""
    blend = tiles.blend

    def centered(maps, shape, tile):
        logits = blend(maps, shape, tile)
        return logits - np.median(logits)

    monkeypatch.setattr(tiles, "blend", centered)


@pytest.fixture(scope="module")
def segmenter(toy_workdir, tmp_path_factory):
    shown = toy_pictures.write_support(tmp_path_factory.mktemp("support") / "square")
    made = Segmenter.from_checkpoint(toy_workdir, batch=2)
    made.set_support(supports.read(shown))
    return made


@pytest.fixture
def place(tmp_path):
    toy_pictures.write_images(tmp_path / "images", 3)
    return tmp_path


def opened(place, **exports):
    names = job.find_images(place / "images", [place / "out"])
    return Labels(Manifest(place / "out"), place / "images", names, ("square",), **exports)


def command(segmenter, place, coco="", labelme=False):
    """What `label` does, without the command line."""
    job.label(segmenter, opened(place, coco=coco, labelme=labelme), progress=False)
    return place / "out"


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def exported(out):
    return json.loads((out / "annotations.json").read_text())


def test_34_labelme_finds_the_image_through_a_linked_folder(segmenter, place):
    (place / "disk2" / "deep" / "er").mkdir(parents=True)
    (place / "out").symlink_to(place / "disk2" / "deep" / "er")
    out = command(segmenter, place, labelme=True)
    for path in sorted((out / "labelme").glob("*.json")):
        name = json.loads(path.read_text())["imagePath"]
        assert os.path.exists(os.path.join(path.parent, name))


@pytest.mark.parametrize("kind", ["rle", "polygons"])
def test_37_exports_load_in_pycocotools(segmenter, place, kind, tmp_path):
    from pycocotools.coco import COCO

    out = command(segmenter, place, kind)
    content = exported(out)
    assert "info" in content and all("supercategory" in c for c in content["categories"])
    coco = COCO(str(out / "annotations.json"))
    coco.info()
    assert coco.getCatIds(supNms=[""]) == [1]
    results = [{**a, "score": 0.5} for a in content["annotations"]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert len(coco.loadRes(str(tmp_path / "results.json")).getAnnIds()) == len(results) > 0
    for annotation in coco.loadAnns(coco.getAnnIds()):
        name = coco.loadImgs(annotation["image_id"])[0]["file_name"]
        mask = pixels((out / "masks" / name).with_suffix(".png")) > 0
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)


def test_42_a_hand_edited_export_is_kept_and_said(segmenter, place, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fss_jax"), "propagate", True)
    out = command(segmenter, place, "rle", True)
    edited = out / "labelme" / "1.json"
    content = json.loads(edited.read_text()) | {"shapes": []}
    edited.write_text(json.dumps(content))
    Image.fromarray(toy_pictures.square(7, 50, 60)[0]).save(place / "images" / "q9.png")
    command(segmenter, place, "rle", True)
    assert json.loads(edited.read_text()) == content
    assert (out / "masks" / "q9.png").is_file() and (out / "labelme" / "q9.json").is_file()
    assert len(exported(out)["images"]) == 4
    assert "1.json was edited by hand and kept" in caplog.text and "/masks" in caplog.text


def test_a_replaced_image_is_labelled_again_and_a_touched_one_is_not(segmenter, place):
    out = command(segmenter, place)
    before = {p.name: p.stat().st_mtime_ns for p in (out / "masks").iterdir()}
    (place / "images" / "0.png").touch()
    Image.fromarray(toy_pictures.square(77, 31, 33)[0]).save(place / "images" / "1.png")
    command(segmenter, place)
    after = {p.name: p.stat().st_mtime_ns for p in (out / "masks").iterdir()}
    assert [name for name in sorted(before) if before[name] != after[name]] == ["1.png"]
    assert pixels(out / "masks" / "1.png").shape == (31, 33)


def test_32_three_images_three_masks_and_odd_names(segmenter, place):
    names = [
        "b.jpg",
        "b.png",
        "b.jpg.png",
        "L" * 246 + ".png",
        os.fsdecode(b"\xff.png"),
        "a\nb.png",
    ]
    for i, name in enumerate(names):
        Image.fromarray(toy_pictures.square(i, 30, 40 + i)[0]).save(place / "images" / name)
    out = command(segmenter, place, "rle", True)
    assert len(list((out / "masks").iterdir())) == 3 + len(names)
    assert len(exported(out)["images"]) == 3 + len(names)
    assert sorted(i.width for i in convert.read(out / "annotations.json")[0])[:1] == [40]


def test_43_a_corrected_mask_that_is_a_label_map_counts_or_is_refused(segmenter, place):
    out = command(segmenter, place)
    path = out / "masks" / "1.png"
    ids = np.zeros(pixels(path).shape, np.uint8)
    ids[2:20, 3:30] = 2
    Image.fromarray(ids).save(path)
    labels = opened(place)
    assert labels.corrected("1.png")
    np.testing.assert_array_equal(labels.masks("1.png")["square"], ids == 2)
    ids[30:40, 3:30] = 5
    Image.fromarray(ids).save(path)
    with pytest.raises(Unclear, match=r"masks/1.png is a label map .*--mask_values 2,5"):
        opened(place).summarize()
    labels.choice = Choice.parse("5")
    labels.summarize()
    np.testing.assert_array_equal(labels.masks("1.png")["square"], ids == 5)


def test_instances_are_objects_of_their_own_in_the_exports(tmp_path):
    """`--instances`: parts that touch nowhere are apart in COCO and labelme, and holes stay holes."""
    picture = np.zeros((20, 30, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    mask = np.zeros((20, 30), bool)
    mask[2:12, 2:12] = mask[4:8, 18:25] = True
    mask[5:8, 5:8] = False
    found = Prediction({"cat": mask}, {"cat": mask.astype(np.float32)}, {"cat": 1})
    for instances, count in ((False, 1), (True, 2)):
        out = tmp_path / f"out_{instances}"
        labels = Labels(Manifest(out), tmp_path / "in", ["a.png"], ("cat",), coco="polygons",
                        labelme=True, instances=instances)  # fmt: skip
        labels.write("a.png", found, picture)
        labels.summarize()
        for place in (out / "annotations.json", out / "labelme"):
            ((image,), _) = convert.read(place, images=tmp_path / "in")
            assert len(image.things()) == count, place
            np.testing.assert_array_equal(image.masks["cat"], mask)


@pytest.mark.parametrize("to", [n for n in formats.names() if hasattr(formats.get(n), "write")])
def test_what_label_wrote_goes_on_to_every_tool(to, tmp_path):
    """`label --coco=rle`, then `convert`: the tool's file has the masks that are in the folder."""
    names, classes = ("a.png", "deep/b.png"), ("cat", "tv/monitor")
    rng = np.random.default_rng(0)
    labels = Labels(Manifest(tmp_path / "out"), tmp_path / "in", names, classes, coco="rle")
    for name in names:
        picture = np.zeros((20, 30, 3), np.uint8)
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture).save(tmp_path / "in" / name)
        side = np.arange(30) < 15
        noise = rng.random((20, 30)) < 0.5
        masks = {"cat": noise & side, "tv/monitor": noise & ~side}
        probability = {c: mask.astype(np.float32) for c, mask in masks.items()}
        labels.write(name, Prediction(masks, probability, dict.fromkeys(classes, 1)), picture)
    labels.summarize()
    convert.convert(
        tmp_path / "out" / "annotations.json", tmp_path / "tool", to, images=tmp_path / "in"
    )
    found, told = convert.read(tmp_path / "tool", to, tmp_path / "in")
    assert told == [] and sorted(image.file_name for image in found) == list(names)
    for image in found:
        written = labels.masks(image.file_name)
        assert len(written) == len(image.masks) == 2
        for one, other in zip(sorted(written.items()), sorted(image.masks.items()), strict=True):
            np.testing.assert_array_equal(one[1], other[1])
