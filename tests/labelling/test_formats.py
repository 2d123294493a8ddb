"""Every format to every other and back: the masks are the same to the pixel where it can hold them."""

import importlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fss_jax.labelling import convert, formats
from fss_jax.labelling.annotations import ImageMasks, Told, image_of, to_rle
from fss_jax.labelling.annotations import Object as Thing
from fss_jax.labelling.formats._files import Finder

NAMES = formats.names()
ONE_PIXEL_ONE_OBJECT = ("voc", "cvat_masks")  # label maps: what lies on top hides the rest
UNITES = ("png",)  # does not tell objects of a class apart
SIZES = {"photo one.jpg": (40, 60), "deep/b.png": (33, 21)}


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width)), 2.5)
    return smooth > np.quantile(smooth, 0.7)


def images(overlapping: bool = False) -> list[ImageMasks]:
    """Two images: objects with holes and several parts, two of one class, a class in one only."""
    result = []
    for i, (name, (height, width)) in enumerate(SIZES.items()):
        cat, dog = blobs(i, height, width), blobs(i + 10, height, width)
        first, second = cat.copy(), cat.copy()
        first[:, width // 2 :] = second[:, : width // 2] = False
        free = dog if overlapping else dog & ~cat
        things = [Thing("cat", first), Thing("cat", second), Thing("großer hund", free)]
        if i:
            things.append(
                Thing(
                    "tie",
                    np.pad(np.ones((3, 3), bool), ((0, height - 3), (0, width - 3))) & ~cat & ~dog,
                )
            )
        result.append(image_of(name, height, width, [t for t in things if t.mask.any()]))
    return result


@pytest.fixture
def pictures(tmp_path):
    """The folder of the images themselves: YOLO's labels do not say how large they are."""
    for name, (height, width) in SIZES.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
    return tmp_path / "pictures"


def by_name(found: list[ImageMasks]) -> dict[str, ImageMasks]:
    return {image.file_name.rpartition(".")[0]: image for image in found}


def assert_same(found: list[ImageMasks], expected: list[ImageMasks], objects: bool) -> None:
    one, other = by_name(found), by_name(expected)
    assert one.keys() == other.keys()
    for name, image in one.items():
        assert (image.height, image.width) == (other[name].height, other[name].width)
        masks = {c: mask for c, mask in image.masks.items() if mask.any()}
        assert masks.keys() == other[name].masks.keys()
        for c, mask in masks.items():
            np.testing.assert_array_equal(mask, other[name].masks[c])
        if objects:
            sizes = [
                sorted((t.name, int(t.mask.sum())) for t in i.things())
                for i in (image, other[name])
            ]
            assert sizes[0] == sizes[1]


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
@pytest.mark.parametrize("polygons", [False, True])
def test_any_format_to_any_other_keeps_every_pixel(first, second, polygons, pictures, tmp_path):
    expected = images()
    formats.get(first).write(tmp_path / "first", expected, polygons=polygons)
    count, lines = convert.convert(
        tmp_path / "first",
        tmp_path / "second",
        second,
        kind=first,
        images=pictures,
        polygons=polygons,
    )
    assert count == 2 and lines == []
    found, lines = convert.read(tmp_path / "second", second, pictures)
    assert lines == []
    # Label Studio's polygons are single parts: an object of several comes back as several.
    parted = polygons and "label_studio" in (first, second)
    united = {first, second} & set(UNITES)
    assert_same(found, expected, objects=not united and not parted)


@pytest.mark.parametrize("name", NAMES)
def test_overlapping_objects(name, pictures, tmp_path):
    """Label maps keep the smaller object whole; the larger loses what lies below, and no more."""
    expected = images(overlapping=True)
    formats.get(name).write(tmp_path / "out", expected)
    found, _ = convert.read(tmp_path / "out", name, pictures)
    if name not in ONE_PIXEL_ONE_OBJECT:
        return assert_same(found, expected, objects=name not in UNITES)
    originals = by_name(expected)
    for stem, image in by_name(found).items():
        other = originals[stem]
        for c, mask in other.masks.items():
            others = np.any([m for n, m in other.masks.items() if n != c], axis=0)
            lost = mask & ~image.masks[c]
            assert not (image.masks[c] & ~mask).any() and not (lost & ~others).any()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "png"])
def test_a_format_is_found_out(name, pictures, tmp_path):
    formats.get(name).write(tmp_path / "out", images())
    assert {m.__name__.rpartition(".")[2] for m, _ in formats.find(tmp_path / "out")} == {name}
    found, _ = convert.read(tmp_path / "out", "", pictures)
    assert_same(found, images(), objects=True)


def test_instances_are_connected_parts_with_holes(pictures, tmp_path):
    ring = np.zeros((40, 60), bool)
    ring[5:20, 5:20], ring[8:12, 8:12], ring[30:35, 30:50] = True, False, True
    image = ImageMasks("photo one.jpg", 40, 60, {"cat": ring})
    formats.get("coco").write(tmp_path / "coco", [image])
    convert.convert(tmp_path / "coco", tmp_path / "out", "voc", instances=True)
    parts = np.asarray(Image.open(tmp_path / "out/SegmentationObject/photo one.png"))
    assert set(np.unique(parts)) == {0, 1, 2} and parts[10, 10] == 0
    (found,), _ = convert.read(tmp_path / "out", "voc")
    assert sorted(int(thing.mask.sum()) for thing in found.things()) == [100, 15 * 15 - 16]
    np.testing.assert_array_equal(found.masks["cat"], ring)


def test_every_format_says_what_it_is_and_a_new_one_is_found_by_its_file():
    for name in NAMES:
        module = formats.get(name)
        assert module.TITLE and (module.__doc__ or "").strip()
        assert callable(module.read) and callable(module.recognizes)
    with pytest.raises(ValueError, match="no format 'coc'; known: coco, "):
        formats.get("coc")


def test_unusable_requests_are_one_line(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    for run, message in (
        (lambda: convert.read(tmp_path / "no"), "there is no "),
        (lambda: convert.read(tmp_path), "holds no annotation"),
        (lambda: convert.read(tmp_path, "coco"), "holds no annotation of COCO"),
        (lambda: convert.read(tmp_path / "x.json", "coco"), "no list of images"),
        (lambda: convert.convert(tmp_path, tmp_path, "png"), "is not empty"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            run()
        assert "\n" not in str(caught.value)


def test_panoptic_coco_is_read(tmp_path):
    ids = np.zeros((4, 6), np.int64)
    ids[:2, :3], ids[2:, 3:], ids[0, 5] = 7, 300, 70000
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    (tmp_path / "panoptic_val").mkdir()
    Image.fromarray(rgb).save(tmp_path / "panoptic_val" / "x.png")
    segments = [
        {"id": 7, "category_id": 1},
        {"id": 300, "category_id": 1},
        {"id": 70000, "category_id": 2},
    ]
    content = {
        "images": [{"id": 1, "file_name": "x.jpg", "height": 4, "width": 6}],
        "annotations": [{"image_id": 1, "file_name": "x.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "sky"}],
    }
    (tmp_path / "panoptic_val.json").write_text(json.dumps(content))
    ((image,), lines) = convert.read(tmp_path / "panoptic_val.json")
    assert lines == [] and len(image.things()) == 3
    np.testing.assert_array_equal(image.masks["cat"], (ids == 7) | (ids == 300))
    np.testing.assert_array_equal(image.masks["sky"], ids == 70000)


def test_label_studio_brush_is_the_code_of_its_own_sdk():
    """Bytes of label_studio_sdk.converter.brush.mask2rle for a 2 x 3 mask, worked out by hand."""
    thi = importlib.import_module("fss_jax.labelling.formats._thi")
    mask = np.array([[0, 1, 1], [0, 0, 0]], bool)
    code = thi.encode(mask)
    head = f"{24:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    runs = f"1{0:02b}{3:03b}{0:08b}" + f"1{0:02b}{7:03b}{255:08b}" + f"1{1:02b}{11:04b}{0:08b}"
    bits = head + runs
    bits += "0" * (-len(bits) % 8)
    assert code == [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    np.testing.assert_array_equal(thi.decode(code, 2, 3), mask)
    single = (
        head
        + f"0{3:02b}{23:016b}"
        + "".join(f"{255 * int(v):08b}" for v in mask.ravel() for _ in range(4))
    )
    single += "0" * (-len(single) % 8)
    data = [int(single[i : i + 8], 2) for i in range(0, len(single), 8)]
    np.testing.assert_array_equal(thi.decode(data, 2, 3), mask)
    for bad, message in (
        (code[:-2], "cut short"),
        ([1, 2], "cut short"),
        (["x"], "no list of bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            thi.decode(bad, 2, 3)


TASK = {
    "data": {"image": "/data/upload/1/ab-photo%20one.jpg"},
    "annotations": [
        {
            "was_cancelled": True,
            "result": [{"value": {"points": [[0, 0]], "polygonlabels": ["no"]}}],
        },
        {
            "result": [
                {
                    "type": "polygonlabels",
                    "original_width": 60,
                    "original_height": 40,
                    "value": {
                        "points": [[0, 0], [50, 0], [50, 50], [0, 50]],
                        "polygonlabels": ["cat"],
                    },
                },
                {
                    "type": "rectanglelabels",
                    "original_width": 60,
                    "original_height": 40,
                    "value": {
                        "x": 50,
                        "y": 50,
                        "width": 50,
                        "height": 50,
                        "rotation": 0,
                        "rectanglelabels": ["dog"],
                    },
                },
                {
                    "type": "keypointlabels",
                    "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["tip"]},
                },
                {"type": "choices", "value": {"choices": ["good"]}},
            ]
        },
    ],
}


def test_label_studio_export_as_its_editor_writes_it(tmp_path):
    (tmp_path / "export.json").write_text(json.dumps([TASK]))
    ((image,), lines) = convert.read(tmp_path / "export.json")
    expected = np.zeros((2, 40, 60), bool)
    expected[0, :20, :30] = expected[1, 20:, 30:] = True
    np.testing.assert_array_equal([image.masks["cat"], image.masks["dog"]], expected)
    assert len(lines) == 1 and "a keypointlabels has no area" in lines[0]


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<image id="0" name="sub\\photo one.jpg" width="60" height="40">
  <polygon label="cat" points="0.00,0.00;30.00,0.00;30.00,20.00;0.00,20.00" z_order="0"></polygon>
  <box label="dog" xtl="30.00" ytl="20.00" xbr="60.00" ybr="40.00" z_order="0"></box>
  <mask label="tie" rle="1, 2, 1" left="10" top="30" width="2" height="2" z_order="0"></mask>
  <points label="tip" points="1,1"></points>
</image></annotations>"""


def test_cvat_images_as_cvat_writes_them(tmp_path):
    (tmp_path / "annotations.xml").write_text(CVAT)
    ((image,), lines) = convert.read(tmp_path)
    assert image.file_name == "sub/photo one.jpg"
    assert image.masks["cat"].sum() == 600 == image.masks["dog"].sum()
    assert np.argwhere(image.masks["tie"]).tolist() == [[30, 11], [31, 10]]
    assert len(lines) == 1 and "points has no area" in lines[0]
    (tmp_path / "annotations.xml").write_text(
        '<!DOCTYPE a [<!ENTITY b "c">]><annotations><image name="&b;"/></annotations>'
    )
    with pytest.raises(ValueError, match="document type"):
        convert.read(tmp_path / "annotations.xml", "cvat_images")


def test_yolo_lines_that_are_boxes_are_left_out(tmp_path, pictures):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text("\ufeffnames: {0: cat, 3: dog}\n", encoding="utf-8")
    (tmp_path / "labels" / "photo one.txt").write_text(
        "0 0 0 0.5 0 0.5 0.5 0 0.5\n3 0.5 0.5 0.2 0.2\n9 0 0 1 0 1 1\nx\n"
    )
    ((image,), lines) = convert.read(tmp_path, "yolo_seg", pictures)
    assert image.masks["cat"].sum() == 600 and set(image.masks) == {"cat"}
    assert len(lines) == 3 and "boxes without a polygon" in lines[0] and "line 2" in lines[0]


def test_runs_are_the_same_in_coco_whatever_wrote_them():
    mask = blobs(3, 20, 30)
    again = list(
        formats.get("coco")._region(to_rle(mask, compressed=c), 20, 30) for c in (True, False)
    )
    np.testing.assert_array_equal(again, [mask, mask])


def test_what_is_left_out_is_counted_and_named():
    told = Told()
    assert not told and told.lines() == []
    for i in range(5):
        told.add("left out: a point has no area", f"{i}.json")
    assert told.lines() == [
        "left out: a point has no area: 5 times in 0.json, 1.json, 2.json and 2 more"
    ]
    assert Finder(None, told).find(Path("x.json"), "x") is None


def test_the_command(tmp_path, pictures, capsys):
    import argparse

    from fss_jax.commands import convert as command

    formats.get("labelme").write(tmp_path / "in", images())
    parser = argparse.ArgumentParser()
    command.add_flags(parser)
    words = [tmp_path / "in", "--to", "coco", "--out", tmp_path / "out", "--images", pictures]
    command.run(parser.parse_args([str(word) for word in words]))
    assert "2 images: see " in capsys.readouterr().out
    assert_same(convert.read(tmp_path / "out")[0], images(), objects=True)


@pytest.mark.parametrize("to", [name for name in NAMES if hasattr(formats.get(name), "write")])
def test_a_folder_is_converted_without_all_its_masks_in_memory(to, tmp_path):
    side, count = 600, 40
    for n in range(count):
        path = tmp_path / "from" / "thing" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((side, side), np.uint8)
        mask[n : n + 200, 100:300] = 255
        Image.fromarray(mask).save(path)
    tracemalloc.start()
    try:
        assert convert.convert(tmp_path / "from", tmp_path / "to", to, kind="png")[0] == count
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < count * side * side / 2, f"{most} bytes at once"
