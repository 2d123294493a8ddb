"""What is written loads in the packages that read it (pip install -e ".[formats-test]")."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fss_jax.labelling import formats
from fss_jax.labelling.annotations import Object, image_of

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
