"""The embedded dataset: its classes are distinct, its pictures fair, its bytes reproducible."""

import colorsys
import io
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import ndimage

from data_builders import prepare
from data_builders.fss_glyphs import glyphs, painting, rendering

RAW = {key: tfds.decode.SkipDecoding() for key in ("image", "label")}


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Silhouettes of every eighth class."""
    return glyphs.silhouettes(glyphs.load_classes()[::8])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return prepare.prepare("fss_glyphs", "tiny", folder, options={"classes": 12})


def painter(fields, **changes) -> painting.Painter:
    settings = {"first_id": 1, "size": 64, "cues": True, "seed": 0} | changes
    return painting.Painter(fields, **settings)


def test_classes_are_those_of_fss_1000_in_number():
    classes = glyphs.load_classes()
    assert Counter(c.split for c in classes) == {"train": 520, "val": 240, "test": 240}
    assert len({c.name for c in classes}) == len({(c.font, c.code) for c in classes}) == 1000


def test_listed_silhouettes_are_chunky_and_distinct(fields):
    for c in glyphs.load_classes()[::8]:
        assert glyphs.is_chunky(glyphs.glyph_mask(c.font, c.code)), c.name
    assert glyphs.distinct(fields) == list(range(len(fields)))


def test_silhouettes_have_unit_area_and_lie_in_the_middle(fields):
    step = glyphs.EXTENT / glyphs.SIDE
    areas = (fields > 0).sum((1, 2)) * step**2
    np.testing.assert_allclose(areas, 1, atol=0.06)  # straight edges between its samples
    middle = (glyphs.SIDE - 1) / 2
    centers = [ndimage.center_of_mass(field > 0) for field in fields]
    np.testing.assert_allclose(centers, middle, atol=1)


@pytest.mark.parametrize("degrees", [40, 155])
def test_a_turned_silhouette_is_near_identical(fields, degrees):
    turned = np.stack(
        [ndimage.rotate(f, degrees, reshape=False, order=1, mode="nearest") for f in fields[:20]]
    )
    assert glyphs.distinct(np.concatenate([fields[:20], turned])) == list(range(20))


def test_best_iou_is_the_best_over_all_rotations(fields):
    masks = [ndimage.zoom(f, 2, order=1) > 0 for f in fields[:4]]
    turns = np.arange(0, 360, 5)
    turned = [[ndimage.rotate(m, t, reshape=False, order=0) for t in turns] for m in masks[1:]]
    expected = [max((masks[0] & t).sum() / (masks[0] | t).sum() for t in row) for row in turned]
    spectra = np.stack([np.fft.rfft(glyphs.polar(f)) for f in fields[:4]])
    np.testing.assert_allclose(glyphs.best_iou(spectra[0], spectra[1:]), expected, atol=0.04)


def test_objects_lie_apart_and_in_the_frame(fields):
    rng = np.random.default_rng(0)
    x = (np.arange(-64, 192) + 0.5) / 128
    frame = (np.abs(x - 0.5) < 0.5)[None] & (np.abs(x - 0.5) < 0.5)[:, None]
    for start in range(0, 80, 4):
        shapes = list(fields[start : start + 4])
        poses = rendering.lay_out(shapes, rng)
        masks = [
            rendering.sample(f, *p.to_object(x[None], x[:, None])) > 0
            for f, p in zip(shapes, poses, strict=False)
        ]
        taken = ~frame
        for mask in masks:
            assert (mask & taken).sum() < 0.12 * mask.sum()  # 5 percent on a grid a quarter as fine
            taken = taken | mask


def test_the_mask_is_where_the_object_shows(fields):
    def plain(hue):
        return rendering.Texture("plain", ((hue, 1.0, 0.9), (hue, 1.0, 0.9)), 1.0, 0.0, 1.0, 0.0)

    rng = np.random.default_rng(1)
    right, wrong = [], []
    for _ in range(10):
        image, mask = rendering.render(list(fields[:2]), [plain(0.0), plain(1 / 3)], 128, rng)
        red = (image[..., 0] > 2.0 * image[..., 1]) & (image[..., 0] > 2.0 * image[..., 2])
        core, reach = ndimage.binary_erosion(mask), ndimage.binary_dilation(mask, iterations=2)
        right.append(red[core].mean())
        wrong.append(red[ndimage.binary_dilation(reach, iterations=2) & ~reach].mean())
    assert np.mean(right) > 0.9
    assert np.median(wrong) < 0.1


@pytest.mark.slow
def test_pictures_depend_on_nothing_but_seed_class_and_number(fields, monkeypatch):
    monkeypatch.setattr(painting, "FEW", 0)
    here, spawned = (list(painter(fields[:3]).paint(workers)) for workers in (1, 2))
    assert [[p[0] for p in row] for row in here] == [[p[0] for p in row] for row in spawned]
    np.testing.assert_array_equal(
        [[p[1] for p in row] for row in here], [[p[1] for p in row] for row in spawned]
    )
    pictures = [p[0] for row in here for p in row]
    other_seed = [p[0] for p in painter(fields[:3], seed=1).class_pictures(0)]
    assert len({*pictures, *other_seed}) == 40


@pytest.mark.parametrize("cues", [True, False])
def test_color_tells_the_class_only_with_cues(fields, cues):
    source = painter(fields[:12], cues=cues)
    colors = np.empty((12, 8, 3))
    for row in range(12):
        for number in range(8):
            image, mask = source.picture(row, number + 1)
            colors[row, number] = image[mask].mean(0)
    within = colors.var(1, ddof=1).mean()
    between = colors.mean(1).var(0, ddof=1).mean() - within / 8
    assert (between > within) == cues


def test_textures_vary_little_from_picture_to_picture():
    rng = np.random.default_rng(0)
    for _ in range(50):
        texture = rendering.class_texture(rng)
        seen = texture.jittered(rng)
        assert seen.kind == texture.kind
        for before, after in zip(texture.colors, seen.colors, strict=True):
            turn = abs(before[0] - after[0])
            assert min(turn, 1 - turn) < 0.12
            assert max(colorsys.hsv_to_rgb(*after)) <= 1


@pytest.mark.slow
def test_examples_have_the_common_form(prepared):
    builder = tfds.builder_from_directory(prepared)
    names = builder.info.features["objects"]["class_id"].names
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == {"train": 60, "val": 30, "test": 30}
    seen = {}
    for split in counts:
        for example in builder.as_data_source(split, decoders=RAW):
            image = Image.open(io.BytesIO(example["image"]))
            label = np.asarray(Image.open(io.BytesIO(example["label"])))
            (class_id,) = example["objects"]["class_id"]
            assert (image.size, image.mode) == ((64, 64), "RGB")
            assert label.shape == (64, 64) and set(np.unique(label)) == {0, 1}
            assert example["objects"]["value"] == [1]
            assert example["objects"]["area"] == [label.sum()]
            assert rendering.MIN_VISIBLE <= label.mean() < 0.25
            name, number = example["image_id"].decode().split("/")
            assert names[class_id] == name
            seen.setdefault((split, name), set()).add(int(number))
    assert set(map(frozenset, seen.values())) == {frozenset(range(1, 11))}
    assert len({name for _, name in seen}) == len(seen) == 12  # no class in two splits


def test_stock_tfds_finds_it(prepared):
    data_dir = prepared.parents[2]
    builder = tfds.builder("fss_glyphs/tiny", data_dir=data_dir)
    assert builder.info.full_name == "fss_glyphs/tiny/1.0.0"
    found = tfds.builder(f"fss_glyphs/{prepared.parent.name}", data_dir=data_dir)
    assert len(found.as_data_source("train", decoders=RAW)) == 60


@pytest.mark.parametrize("classes", [3, 1001])
def test_impossible_numbers_of_classes_are_refused(tmp_path, classes):
    with pytest.raises(ValueError, match=f"classes={classes}: give a number from 9 to 1000"):
        prepare.prepare("fss_glyphs", "tiny", tmp_path, options={"classes": classes})


def test_varied_pictures_have_larger_objects_and_greyer_colors(fields):
    shares, saturations = [], []
    for varied in (False, True):
        some = painter(fields, varied=varied)
        masks = [some.picture(row, 1)[1] for row in range(24)]
        shares.append(max(mask.mean() for mask in masks))
        rng = np.random.default_rng(0)
        textures = [rendering.class_texture(rng, muted=varied) for _ in range(50)]
        saturations.append(min(texture.colors[0][1] for texture in textures))
    assert shares[0] < rendering.AREA[1] * 1.25 < shares[1]
    assert saturations[1] < 0.2 < 0.5 <= saturations[0]
