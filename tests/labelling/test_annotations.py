"""Masks survive every form they are written in."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fss_jax.labelling.annotations import (
    ImageMasks,
    Told,
    from_rle,
    polygon,
    split,
    to_polygons,
    to_rle,
)
from fss_jax.labelling.formats import coco as coco_files
from fss_jax.labelling.formats import labelme as labelme_files
from fss_jax.labelling.formats._files import Finder

MASK = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
RING_WITH_CORE = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 1, 1, 0, 1],
        [1, 0, 0, 0, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ],
    bool,
)


@given(mask=MASK, compressed=st.booleans())
def test_run_length_code_gives_the_mask_back(mask, compressed):
    code = to_rle(mask, compressed=compressed)
    np.testing.assert_array_equal(from_rle(code, *mask.shape), mask)


def test_run_length_code_as_coco_defines_it():
    """Runs down the columns, background first; characters from '0' on, five bits each."""
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert to_rle(mask, compressed=False) == {"size": [2, 3], "counts": [2, 3, 1]}
    assert to_rle(~mask, compressed=False)["counts"] == [0, 2, 3, 1]
    assert to_rle(mask)["counts"] == "231"
    # 40 = 8 + 32 * 1; from the fourth on, the difference to two before: 3 - 3, 35 - 40 = -5.
    runs = np.repeat([False, True, False, True, False], [1, 3, 40, 3, 35])
    assert to_rle(runs[:, None])["counts"] == "13X10K"
    # 16 needs a second piece, else its highest bit would pass for a sign.
    assert to_rle(np.zeros((16, 1), bool))["counts"] == "`0"
    for counts in ("1", "X", "", "0z", "231`", "3000000", "1K9"):
        with pytest.raises(ValueError, match="run-length code"):
            from_rle({"size": [2, 3], "counts": counts}, 2, 3)


def region(polygons, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for points in polygons:
        mask |= polygon(points, height, width)
    return mask


def read_coco(path):
    return coco_files.read(path, Told(), Finder(None, Told()))


def read_labelme(path):
    (image,) = labelme_files.read(path, Told(), Finder(None, Told()))
    return image


write_coco, write_labelme = coco_files.write_one, labelme_files.write_one


def test_a_polygon_far_beyond_the_image_is_cut_off_in_no_time():
    far = [-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]
    assert polygon(far, 40, 50).all()
    half = [-1e9, -1e9, 25, -1e9, 25, 1e9, -1e9, 1e9]
    np.testing.assert_array_equal(polygon(half, 40, 50).any(0), np.arange(50) < 25)
    assert not polygon([1e9, 1e9, 2e9, 1e9, 2e9, 2e9], 40, 50).any()


@given(mask=MASK)
def test_split_gives_connected_parts_with_their_holes(mask):
    image = split(ImageMasks("x.png", *mask.shape, {"a": mask}))
    parts = [thing.mask for thing in image.things()]
    np.testing.assert_array_equal(np.sum(parts, 0, initial=0) if parts else mask & False, mask)
    if mask.any():
        whole = split(ImageMasks("x", *RING_WITH_CORE.shape, {"a": RING_WITH_CORE})).things()
        assert sorted(int(thing.mask.sum()) for thing in whole) == [19]  # they touch at a corner


@settings(max_examples=120, deadline=None)
@given(mask=MASK)
def test_polygons_cover_the_mask_exactly(mask):
    polygons = to_polygons(mask)
    np.testing.assert_array_equal(region(polygons, *mask.shape), mask)
    corners = [np.reshape(points, (-1, 2)) for points in polygons]
    for points in corners:
        assert (points >= 0).all() and (points <= mask.shape[::-1]).all()


def test_polygons_of_known_shapes():
    square = np.zeros((6, 7), bool)
    square[1:4, 2:6] = True
    (points,) = to_polygons(square)
    assert {tuple(p) for p in np.reshape(points, (-1, 2))} == {(2, 1), (6, 1), (6, 4), (2, 4)}
    assert len(points) == 8
    square[5, 0] = True
    assert len(to_polygons(square)) == 2
    assert to_polygons(np.zeros((4, 4), bool)) == []
    # A ring that touches itself at a corner, with an island inside.
    np.testing.assert_array_equal(
        region(to_polygons(RING_WITH_CORE), *RING_WITH_CORE.shape), RING_WITH_CORE
    )


def images_of(masks: list[np.ndarray]) -> list[ImageMasks]:
    return [
        ImageMasks(f"photo {i}.jpg", *mask.shape, {"cat": mask, "großer hund": ~mask})
        for i, mask in enumerate(masks)
    ]


def assert_same(found: ImageMasks, expected: ImageMasks) -> None:
    assert found[:3] == expected[:3]
    assert found.masks.keys() == {name for name, mask in expected.masks.items() if mask.any()}
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(mask, expected.masks[name])


@settings(max_examples=40, deadline=None)
@given(masks=st.lists(MASK, max_size=3), polygons=st.booleans())
def test_coco_file_gives_the_masks_back(masks, polygons, tmp_path_factory):
    path = tmp_path_factory.mktemp("coco") / "labels.json"
    images = images_of(masks)
    write_coco(path, iter(images), polygons=polygons)
    found = list(read_coco(path))
    assert len(found) == len(images)
    for one, other in zip(found, images, strict=True):
        assert_same(one, other)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        name = content["categories"][annotation["category_id"] - 1]["name"]
        mask = images[annotation["image_id"] - 1].masks[name]
        assert mask[y : y + height, x : x + width].sum() == mask.sum() == annotation["area"]
        assert mask[y].any() and mask[:, x].any() and mask[y + height - 1].any()
    assert not path.with_name("labels.json.partial").exists()


@settings(max_examples=40, deadline=None)
@given(mask=MASK)
def test_labelme_file_gives_the_masks_back(mask, tmp_path_factory):
    path = tmp_path_factory.mktemp("labelme") / "photo.json"
    (image,) = images_of([mask])
    write_labelme(path, image)
    assert_same(read_labelme(path), image)


def labelme(shapes: list[dict], **changes) -> str:
    content = {"shapes": shapes, "imagePath": r"..\x.jpg", "imageHeight": 8, "imageWidth": 9}
    return json.dumps(content | changes)


def test_every_labelme_shape_with_an_area(tmp_path):
    inner = np.random.default_rng(0).random((3, 4)) < 0.5
    buffer = io.BytesIO()
    Image.fromarray(inner).save(buffer, "PNG")
    shapes = [
        {"label": "box", "shape_type": "rectangle", "points": [[6, 5], [2, 1]]},
        {"label": "disk", "shape_type": "circle", "points": [[4, 4], [4, 6.5]]},
        {"label": "two", "points": [[0, 0], [2, 0], [2, 2], [0, 2]]},
        {"label": "two", "shape_type": "polygon", "points": [[1, 1], [3, 1], [3, 3], [1, 3]]},
        {
            "label": "drawn",
            "shape_type": "mask",
            "points": [[4, 3], [7, 5]],
            "mask": base64.b64encode(buffer.getvalue()).decode(),
        },
    ]
    path = tmp_path / "x.json"
    path.write_text(labelme(shapes))
    found = read_labelme(path)
    assert found.file_name == "../x.jpg"
    expected = {name: np.zeros((8, 9), bool) for name in ("box", "disk", "two", "drawn")}
    expected["box"][1:5, 2:6] = True
    expected["two"][:2, :2] = expected["two"][1:3, 1:3] = True
    expected["drawn"][3:6, 4:8] = inner
    y, x = np.mgrid[:8, :9] + 0.5
    expected["disk"] = (x - 4) ** 2 + (y - 4) ** 2 <= 2.5**2
    assert found.masks.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(found.masks[name], mask)


POINT = {"label": "tip", "shape_type": "point", "points": [[1, 1]]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON"),
        ("[]", "has no list of shapes"),
        ("{}", "has no list of shapes"),
        (labelme([], imageHeight=10**9, imageWidth=10**9), "are possible"),
        (labelme([], imageHeight=None), "says how large it is"),
        (labelme([], imageHeight="x"), "expected pixels"),
    ],
)
def test_bad_labelme_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_labelme(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def coco(**changes) -> str:
    content = {
        "images": [{"id": 1, "file_name": "x.jpg", "height": 4, "width": 5}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 7, "segmentation": [[0, 0, 2, 0, 2, 2]]}],
    }
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"images": []}', "no list of annotations there"),
        ('{"images": [], "annotations": []}', "no list of categories there"),
    ],
)
def test_bad_coco_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(coco())
    assert [sorted(image.masks) for image in read_coco(path)] == [["cat"]]
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_coco(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_real_coco_annotations_survive(tmp_path, shared):
    """Real polygons and crowd codes, read, written as either form and read again."""
    (source, *_) = sorted((shared / "data/coco_subset/annotations").glob("*val*.json"))
    images = [image for image, _ in zip(read_coco(source), range(12), strict=False)]
    assert sum(len(image.masks) for image in images) > 12
    for polygons in (False, True):
        write_coco(tmp_path / "x.json", images, polygons=polygons)
        for one, other in zip(read_coco(tmp_path / "x.json"), images, strict=True):
            assert_same(one, other)
