"""Annotation files as people report them: one oddity stops nothing, and is counted and named."""

import base64
import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from fss_jax.labelling import convert, folders, pictures, supports

SQUARE = [[10, 10], [50, 10], [50, 50], [10, 50]]  # 1600 pixels
FLAT = [float(v) for point in SQUARE for v in point]
WIDTH, HEIGHT = 80, 64
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fss_jax"), "propagate", True)
    caplog.set_level(logging.INFO)


def photo(path, rgb=RGB, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, **options)
    return path


def labelme(path, shapes, **changes):
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "s0.jpg"}
    content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def shape(label="disc", points=SQUARE, **changes):
    return {"label": label, "points": points, "shape_type": "polygon", "group_id": None} | changes


def coco(path, annotations=None, images=None, **changes):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [FLAT], "iscrowd": 0}
    content = {
        "images": images or [{"id": 1, "file_name": "s0.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [entry | a for a in (annotations or [{}])],
        "categories": [{"id": 1, "name": "disc"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def areas(place):
    return {
        name: [int((pictures.read_annotation(mask) == 1).sum()) for mask in masks]
        for name, (_, masks) in supports.read(place).items()
    }


def test_07_appledouble_files_are_passed_over(tmp_path):
    photo(tmp_path / "s0.jpg")
    labelme(tmp_path / "s0.json", [shape()])
    (tmp_path / "._s0.json").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "._s0.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    assert areas(tmp_path) == {"disc": [1600]}


@pytest.mark.parametrize(
    "drawn",
    [
        shape(shape_type="rectangle"),  # X-AnyLabeling: four corners
        shape(shape_type="rectangle", points=[[10, 10], [50, 50]]),
        shape(shape_type="rectangle", points=[[50, 10], [10, 50]]),
        shape(shape_type="rotation", direction=0.5),
        shape(shape_type=None),  # labelme 3
        shape(points=[*SQUARE, SQUARE[0]]),  # closed by hand
    ],
)
def test_08_boxes_and_polygons_as_tools_write_them(tmp_path, drawn):
    photo(tmp_path / "s0.jpg")
    labelme(tmp_path / "s0.json", [drawn])
    assert areas(tmp_path) == {"disc": [1600]}


def test_10_points_and_lines_beside_polygons_are_left_out_and_named(tmp_path, caplog):
    photo(tmp_path / "s0.jpg")
    photo(tmp_path / "s1.jpg")
    labelme(tmp_path / "s0.json", [shape("tip", [[1, 1]], shape_type="point"), shape()])
    line = shape("edge", [[1, 1], [5, 5], [7, 5]], shape_type="linestrip")
    odd = [line, shape("x", [[1, 1], [2, 2]]), shape("y", [[1, float("nan")]] * 3), shape()]
    labelme(tmp_path / "s1.json", odd, imagePath="s1.jpg")
    assert areas(tmp_path) == {"disc": [1600, 1600]}
    for said in (
        "a point has no area",
        "a linestrip has no area",
        "s1.json: shape 2 ('x')",
        "finite",
    ):
        assert said in caplog.text


@pytest.mark.parametrize("missing", ["imageHeight", "shape_type", "null size"])
def test_11_old_labelme_files_take_the_size_of_the_image(tmp_path, missing):
    photo(tmp_path / "s0.jpg")
    path = labelme(tmp_path / "s0.json", [shape()])
    content = json.loads(path.read_text())
    content["version"] = "3.16.7"
    if missing == "null size":
        content |= {"imageHeight": None, "imageWidth": None}
    content.pop(missing, None)
    content["shapes"][0].pop(missing, None)
    path.write_text(json.dumps(content))
    assert areas(tmp_path) == {"disc": [1600]}


def test_13_an_image_that_is_only_in_image_data(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    labelme(tmp_path / "s0.json", [shape()], imageData=data)
    ((image,), (mask,)) = supports.read(tmp_path)["disc"]
    np.testing.assert_array_equal(pictures.read_image(image), RGB)
    assert mask.sum() == 1600
    labelme(tmp_path / "s0.json", [shape()], imageData="bm8=")
    with pytest.raises(ValueError, match="imageData of .*s0.json is not a picture"):
        supports.read(tmp_path)


def test_14_a_pair_that_was_renamed_together(tmp_path, caplog):
    photo(tmp_path / "scan_01.jpg")
    labelme(tmp_path / "scan_01.json", [shape()], imagePath="IMG_2044.jpg")
    assert areas(tmp_path) == {"disc": [1600]}
    assert "IMG_2044.jpg is scan_01.jpg" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_15_byte_order_marks(tmp_path, encoding):
    photo(tmp_path / "s0.jpg")
    for write in (
        lambda: labelme(tmp_path / "s0.json", [shape()]),
        lambda: coco(tmp_path / "s0.json"),
    ):
        path = write()
        path.write_bytes(path.read_text().encode(encoding))
        assert areas(tmp_path) == {"disc": [1600]}


def test_17_class_names_that_are_no_folder_names(tmp_path):
    photo(tmp_path / "s0.jpg")
    labelme(tmp_path / "s0.json", [shape("tv/monitor"), shape("__ignore__"), shape("_background_")])
    assert areas(tmp_path) == {"tv/monitor": [1600]}
    names = ["tv/monitor", "tv_monitor", "..", "", "CAT", "cat", ".x", "x" * 300, "a:b", "nul\0"]
    made = folders.names(names)
    assert made["tv/monitor"] != made["tv_monitor"] == "tv_monitor"
    assert len({name.casefold() for name in made.values()}) == len(names)
    for name in made.values():
        assert 0 < len(name) <= 240 and not set(name) & set("/\\:\0") and name[0] != "."


LAYOUTS = {
    "CVAT": ("annotations/instances_default.json", "images/default/s0.jpg", "s0.jpg"),
    "Roboflow": ("train/_annotations.coco.json", "train/s0.jpg", "s0.jpg"),
    "Label Studio on Windows": ("result.json", "images/ab-s0.jpg", "images\\ab-s0.jpg"),
    "COCO": ("annotations/instances_val2017.json", "val2017/s0.jpg", "s0.jpg"),
    "absolute": ("c.json", "data/s0.jpg", "/home/me/project/data/s0.jpg"),
    "address": ("c.json", "data/s 0.jpg", "https://host/x/s%200.jpg?token=1"),
    "upper case": ("c.json", "s0.JPG", "S0.jpg"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_18_19_folders_as_tools_lay_them(tmp_path, layout):
    json_name, image_name, told = LAYOUTS[layout]
    photo(tmp_path / image_name)
    coco(
        tmp_path / json_name,
        images=[{"id": 1, "file_name": told, "height": HEIGHT, "width": WIDTH}],
    )
    assert areas(tmp_path) == {"disc": [1600]}
    assert areas(tmp_path / json_name) == {"disc": [1600]}


def test_18_equal_names_in_several_folders(tmp_path):
    for i, split in enumerate(("train", "valid")):
        photo(tmp_path / split / "1.jpg", np.full_like(RGB, 50 * i))
        coco(tmp_path / split / "_annotations.coco.json", images=[
            {"id": 1, "file_name": "1.jpg", "height": HEIGHT, "width": WIDTH}
        ])  # fmt: skip
        photo(tmp_path / "all" / f"cam{i}" / "2.jpg", np.full_like(RGB, 100 + 50 * i))
    two = [
        {"id": i, "file_name": f"cam{i}/2.jpg", "height": HEIGHT, "width": WIDTH} for i in (0, 1)
    ]
    coco(tmp_path / "all.json", [{"id": i, "image_id": i} for i in (0, 1)], images=two)
    images, masks = supports.read(tmp_path)["disc"]
    assert len(masks) == 4
    assert sorted(int(pictures.read_image(i).mean().round(-1)) for i in images) == [0, 50, 100, 150]


def test_18_names_that_fit_several_images_are_told(tmp_path):
    for i in range(2):
        photo(tmp_path / f"cam{i}" / "s0.jpg")
    coco(tmp_path / "c.json")
    with pytest.raises(ValueError, match=r"s0.jpg may be .*cam., name its folder|s0.jpg may be"):
        supports.read(tmp_path)


@pytest.mark.parametrize("segmentation", [FLAT, [FLAT], SQUARE, [SQUARE]])
def test_20_polygons_however_they_are_nested(tmp_path, segmentation):
    photo(tmp_path / "s0.jpg")
    coco(tmp_path / "c.json", [{"segmentation": segmentation}])
    assert areas(tmp_path) == {"disc": [1600]}


ODD = {
    "no segmentation": ({"segmentation": None}, "without a segmentation"),
    "empty": ({"segmentation": []}, "without a segmentation"),
    "a word": ({"segmentation": "x"}, "without a segmentation"),
    "words": ({"segmentation": [["x"] * 6]}, "something else than numbers"),
    "two points": ({"segmentation": [[1, 2, 3, 4]]}, "has 4 coordinates"),
    "odd": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "has 7 coordinates"),
    "a code of another size": ({"segmentation": {"size": [4, 5], "counts": [20]}}, "is for [4, 5]"),
    "a code cut short": (
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3]}},
        "covers 3 pixels",
    ),
    "an orphan": ({"image_id": 9}, "an image that is not listed"),
    "an unknown class": ({"category_id": 9}, "a category that is not listed"),
    "no image": ({"image_id": None}, "neither a number nor a text"),
}


@pytest.mark.parametrize("name", ODD)
def test_21_an_odd_annotation_is_left_out_and_named(tmp_path, caplog, name):
    changes, said = ODD[name]
    photo(tmp_path / "s0.jpg")
    coco(tmp_path / "c.json", [{}, {"id": 77} | changes])
    assert areas(tmp_path) == {"disc": [1600]}
    assert said in caplog.text and "c.json: annotation 77" in caplog.text


def test_21_ids_that_are_text(tmp_path):
    photo(tmp_path / "s0.jpg")
    coco(
        tmp_path / "c.json",
        [{"image_id": 1, "category_id": "1"}],
        images=[{"id": "1", "file_name": "s0.jpg"}],  # and no size
    )
    assert areas(tmp_path) == {"disc": [1600]}


def test_21_missing_images_and_damaged_files_do_not_stop_the_others(tmp_path, caplog):
    photo(tmp_path / "s0.jpg")
    labelme(tmp_path / "a.json", [shape()])
    labelme(tmp_path / "gone.json", [shape()], imagePath="gone.jpg")
    (tmp_path / "cut.json").write_text('{"shapes": [')
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert areas(tmp_path) == {"disc": [1600]}
    assert "gone.jpg, which is not there" in caplog.text
    assert "cut.json is no file of a label tool: is not JSON" in caplog.text
    assert "other.json is no file of a label tool (known are" in caplog.text


def turned(path, size=(WIDTH, HEIGHT)):
    """A telephone's photograph: stored lying, upright by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(path, RGB, exif=exif)


def test_24_sizes_that_exif_swapped(tmp_path):
    turned(tmp_path / "s0.jpg")  # upright it is 64 wide, 80 high
    tall = [[10, 40], [50, 40], [50, 78], [10, 78]]  # lies in the upright picture only
    coco(tmp_path / "c.json", [{"segmentation": [tall]}])
    ((image,), (mask,)) = supports.read(tmp_path)["disc"]
    assert mask.shape == pictures.read_image(image).shape[:2] == (WIDTH, HEIGHT)
    assert mask.sum() == 40 * 38
    coco(tmp_path / "c.json")  # fits both ways: nobody can know
    with pytest.raises(ValueError, match="s0.jpg is turned by its EXIF .* fits both ways"):
        supports.read(tmp_path)


def test_24_an_image_of_another_size_than_its_annotation(tmp_path):
    photo(tmp_path / "s0.jpg", RGB[:40])
    labelme(tmp_path / "s0.json", [shape()])
    with pytest.raises(ValueError, match="s0.jpg is 80 x 40, its annotation 80 x 64"):
        supports.read(tmp_path)


def test_shapes_beyond_the_border_are_cut_off(tmp_path):
    photo(tmp_path / "s0.jpg")
    inner = io.BytesIO()
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(inner, "PNG")
    mask = shape("mask", [[-10, -10], [9, 9]], shape_type="mask")
    mask["mask"] = base64.b64encode(inner.getvalue()).decode()
    circle = shape("circle", [[0, 0], [10, 0]], shape_type="circle")
    box = shape("box", [[-1000, -1000], [WIDTH + 9e9, 32]], shape_type="rectangle")
    labelme(tmp_path / "s0.json", [mask, circle, box])
    found = areas(tmp_path)
    assert found["mask"] == [100] and found["box"] == [32 * WIDTH] and 60 < found["circle"][0] < 90


def test_labelme_in_subfolders_and_groups(tmp_path):
    photo(tmp_path / "day 1" / "s0.jpg")
    parts = [shape(group_id=3), shape(points=[[60, 10], [70, 10], [70, 20], [60, 20]], group_id=3)]
    labelme(tmp_path / "day 1" / "s0.json", parts)
    assert areas(tmp_path) == {"disc": [1700]}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    ["names: 0 cat", "names:", "names: 5", "names: []", "names: {a: cat}", "names: {0: {1: 2}}",
     "names: 2001-99-99", "names: !!int ''", "names: !!timestamp x", "? [a]\n: b", "names: [*x]",
     BOMB + "names: [*i]"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_names_of_yolo_that_are_none(content, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"data\.yaml") as caught:
        convert.read(tmp_path, "yolo_seg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_yolo_with_a_list_of_names(name, tmp_path):
    photo(tmp_path / "images" / "a.png")
    (tmp_path / name).write_text("\ufeffdog\ncat\n")
    (tmp_path / "labels").mkdir()
    corners = np.array(SQUARE) / [WIDTH, HEIGHT]
    (tmp_path / "labels" / "a.txt").write_text("1 " + " ".join(map(str, corners.ravel())))
    ((_, (mask,)),) = supports.read(tmp_path).values()
    assert mask.sum() == 1600 and list(supports.read(tmp_path)) == ["cat"]


def test_folders_of_pairs_in_any_case(tmp_path):
    photo(tmp_path / "cat" / "Images" / "a.jpg")
    photo(tmp_path / "cat" / "Masks" / "a.png", np.eye(64, 80, dtype=np.uint8) * 255)
    assert list(supports.read(tmp_path)) == ["cat"]
