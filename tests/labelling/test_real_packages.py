"""What is written loads in the packages that read it: `make formats-test`."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fss_jax.labelling import convert, formats
from fss_jax.labelling.annotations import Object, image_of

OTHERS = os.environ.get("FORMATS_PYTHON", "")
RNG = np.random.default_rng(0)
MASK = ndimage.gaussian_filter(RNG.random((40, 60)), 3) > 0.5


@pytest.fixture
def place(tmp_path):
    Image.fromarray(RNG.integers(0, 256, (40, 60, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_reads_our_coco(place, polygons):
    from pycocotools.coco import COCO

    image = image_of("a.png", *MASK.shape, [Object("cat", MASK)])
    formats.get("coco").write(place, [image], polygons=polygons)
    coco = COCO(str(place / "annotations.json"))
    coco.info()
    (annotation,) = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(supNms=[""])))
    np.testing.assert_array_equal(coco.annToMask(annotation), MASK)
    code = coco.annToRLE(annotation)
    found = coco.loadRes([{"image_id": 1, "category_id": 1, "segmentation": code, "score": 0.5}])
    np.testing.assert_array_equal(found.annToMask(found.loadAnns(1)[0]), MASK)


@pytest.mark.parametrize("kind", ["coco", "coco polygons", "yolo_seg"])
def test_supervision_reads_ours(place, kind):
    supervision = pytest.importorskip("supervision")
    # The lines to holes and further parts, which no area lies between, it draws as well.
    parts, _ = ndimage.label(ndimage.binary_fill_holes(MASK))
    mask = MASK if kind == "coco" else parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    image = image_of("a.png", *mask.shape, [Object("cat", mask)])
    name, _, polygons = kind.partition(" ")
    formats.get(name).write(place / "out", [image], polygons=bool(polygons))
    images, data = str(place), supervision.DetectionDataset
    if name == "coco":
        file = str(place / "out" / "annotations.json")
        read = data.from_coco(images_directory_path=images, annotations_path=file, force_masks=True)
    else:
        read = data.from_yolo(
            images_directory_path=images,
            annotations_directory_path=str(place / "out" / "labels"),
            data_yaml_path=str(place / "out" / "data.yaml"),
            force_masks=True,
        )
    ((_, _, found),) = list(read)
    wrong = found.mask.any(0) != mask
    if kind == "coco":
        assert not wrong.any()
    else:  # it draws a polygon's outline, too: pixels beside the border
        near = ndimage.binary_dilation(mask, np.ones((3, 3))) & ~ndimage.binary_erosion(mask)
        assert not (wrong & ~near).any()


# labelme and datumaro live in an environment of their own: make formats-test.

LABELME = """
from labelme import LabelFile, utils
file = LabelFile(sys.argv[1])
shape = (file.imageHeight, file.imageWidth) if hasattr(file, "imageHeight") else SHAPE
found, _ = utils.shapes_to_label((*shape, 3), file.shapes, {"cat": 1})
np.save(sys.argv[2], found == 1)
"""
DATUMARO = """
import datumaro
(item,) = datumaro.Dataset.import_from(sys.argv[1], sys.argv[3])
masks = [np.asarray(a.image, bool) for a in item.annotations if hasattr(a, "image")]
np.save(sys.argv[2], np.any(masks, axis=0))
"""
EXPORT = """
import datumaro
from datumaro.components.media import Image
mask = np.load(sys.argv[2])
item = datumaro.DatasetItem(
    "a", subset="default", media=Image.from_numpy(data=np.zeros((*SHAPE, 3), np.uint8)),
    annotations=[datumaro.Mask(mask, label=1, id=1, group=1)],
)
data = datumaro.Dataset.from_iterable([item], categories=["background", "cat"])
data.export(sys.argv[1], sys.argv[3], save_media=True)
"""


def other(script, *arguments):
    """Runs a script in the environment of these packages."""
    if not OTHERS:
        pytest.skip("FORMATS_PYTHON is not set: make formats-test")
    head = f"import sys\nimport numpy as np\nSHAPE = {MASK.shape}\n"
    done = subprocess.run(
        [OTHERS, "-W", "ignore", "-c", head + script, *map(str, arguments)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    if "cannot open shared object file" in done.stderr:  # a desktop's libraries, for labelme
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("holes", [False, True])
def test_labelme_reads_ours(place, holes):
    """It draws the outline of a polygon, too: pixels beside the border, and along lines to holes."""
    mask = MASK if holes else ndimage.binary_fill_holes(MASK)
    image = image_of("a.png", *mask.shape, [Object("cat", mask)], place / "a.png")
    formats.get("labelme").write(place, [image])
    other(LABELME, place / "a.json", place / "found.npy")
    found = np.load(place / "found.npy")
    near = ndimage.binary_dilation(mask, np.ones((3, 3))) & ~ndimage.binary_erosion(mask)
    wrong = (found != mask) & ~near
    # A line to a hole or a further part is two pixels wide, and no longer than the image.
    assert wrong.sum() <= (2 * sum(mask.shape) if holes else 0)


@pytest.mark.parametrize("name", ["coco", "cvat_images", "cvat_masks", "voc"])
def test_datumaro_reads_ours(place, name):
    image = image_of("a.png", *MASK.shape, [Object("cat", MASK)], place / "a.png")
    out = place / "out"
    formats.get(name).write(out, [image])
    kind = {"coco": "coco_instances", "cvat_images": "cvat"}.get(name, "voc_segmentation")
    if name == "coco":  # where it looks for one
        source, out = out, out / "annotations" / "instances_default.json"
        out.parent.mkdir()
        (source / "images").mkdir()
        shutil.move(source / "annotations.json", out)
    if name == "cvat_images":
        (out / "images").mkdir()
        shutil.copy(place / "a.png", out / "images" / "a.png")
    other(DATUMARO, out, place / "found.npy", kind)
    np.testing.assert_array_equal(np.load(place / "found.npy"), MASK)


@pytest.mark.parametrize("kind", ["coco_instances", "cvat", "voc_segmentation"])
def test_what_datumaro_writes_is_read(place, kind):
    np.save(place / "mask.npy", MASK)
    other(EXPORT, place / "out", place / "mask.npy", kind)
    images, _ = convert.read(place / "out", images=place / "out")
    (image,) = [image for image in images if "cat" in image.masks]
    np.testing.assert_array_equal(image.masks["cat"], MASK)
