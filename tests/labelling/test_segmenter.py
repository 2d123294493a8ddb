"""The Segmenter: what it takes, that it sees what training saw, and that batches change nothing."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_pictures
from PIL import Image, ImageOps

from fss_jax import Segmenter, configs, methods
from fss_jax.data import imaging
from fss_jax.data.bank import load_bank
from fss_jax.data.records import Records
from fss_jax.data.view import View
from fss_jax.labelling import tiles
from fss_jax.labelling.prediction import Prediction
from fss_jax.runtime.devices import local_devices
from fss_jax.scoring import evaluation, protocols
from fss_jax.scoring.workdir import open_workdir


@pytest.fixture(scope="module")
def shown(toy_workdir):
    """A Segmenter that was shown two squares."""
    segmenter = Segmenter.from_checkpoint(toy_workdir, batch=2)
    segmenter.set_support(*toy_pictures.pairs(2))
    return segmenter


def same(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one.probability, other.probability, atol=tolerance)
    sure = np.abs(one.probability - 0.5) > tolerance
    np.testing.assert_array_equal(one.mask[sure], other.mask[sure])


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (41, 37), (97, 64)])
def test_result_has_the_images_own_size(shown, shape):
    (found,) = shown.predict(np.full((*shape, 3), 120, np.uint8))
    assert found.mask.shape == found.probability.shape == found.label.shape == shape
    assert found.mask.dtype == bool and found.probability.dtype == np.float32
    assert 0 <= found.probability.min() and found.probability.max() <= 1


def test_a_path_a_picture_and_an_array_are_the_same_image(shown, tmp_path):
    image, _ = toy_pictures.square(7)
    path = tmp_path / "x.png"
    Image.fromarray(image).save(path)
    found = shown.predict([path, str(path), Image.fromarray(image), image, image / 255.0])
    for other in found[1:]:
        same(found[0], other)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_any_mode_is_read(shown, mode, tmp_path):
    image = Image.fromarray(toy_pictures.square(7)[0])
    picture = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    picture.save(path)
    (found,) = shown.predict(path)
    assert found.mask.shape == (40, 36)


def test_a_turned_photograph_is_segmented_upright(shown, tmp_path):
    image = Image.fromarray(toy_pictures.square(7)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    same(*shown.predict([tmp_path / "x.png", upright]))


@pytest.mark.parametrize("encode", [lambda m: m, lambda m: m * np.uint8(255), lambda m: m * 1.0])
def test_masks_in_any_encoding_are_the_same(shown, toy_workdir, encode):
    images, masks = toy_pictures.pairs(2)
    other = Segmenter.from_checkpoint(toy_workdir)
    other.set_support(images, [encode(mask) for mask in masks])
    assert other.fingerprint() == shown.fingerprint()


@pytest.mark.slow
def test_sees_and_answers_as_the_evaluation_does(toy_workdir):
    run = open_workdir(toy_workdir)
    records = Records(run.data.items, np.array([1]), np.array([[0, 1]]), np.array([[3]]))
    view = run.view
    evaluator = evaluation.Evaluator(run.model, view, local_devices(1), batch=1, with_trivial=False)
    _, logits = evaluator.show(run.variables, load_bank(run.data, run.config.canvas), records)

    def item(i):
        rgb, label = run.data.read(int(run.data.item_image[i]))
        return rgb, label == run.data.item_value[i]

    segmenter = Segmenter.from_checkpoint(toy_workdir)
    segmenter.set_support(*zip(*(item(i) for i in (0, 1)), strict=True))
    (found,) = segmenter.predict(item(3)[0])
    height, width = found.mask.shape
    scored = jnp.asarray(logits[0, 0])
    if view.score_size:
        scored = jax.jit(imaging.unwarp, static_argnums=2)(scored, jnp.array([height, width]), 40)
    expected = np.asarray(scored)[:height, :width]
    np.testing.assert_allclose(
        np.log(found.probability / (1 - found.probability)), expected, atol=1e-3, rtol=1e-3
    )
    assert found.probability.std() > 1e-4


@pytest.mark.slow
def test_order_of_supports_and_size_of_batches_change_nothing(toy_workdir, shown):
    images, masks = toy_pictures.pairs(2)
    queries = toy_pictures.pairs(5, first=20)[0]
    other = Segmenter.from_checkpoint(toy_workdir, batch=3)
    other.set_support(images[::-1], masks[::-1])
    for one, two in zip(shown.predict(queries), other.predict(queries), strict=True):
        same(one, two)


@pytest.mark.slow
def test_fifty_supports(toy_workdir):
    segmenter = Segmenter.from_checkpoint(toy_workdir)
    segmenter.set_support(*toy_pictures.pairs(50))
    assert segmenter.predict(toy_pictures.square(60)[0])[0].mask.shape == (40, 36)


@pytest.mark.slow
def test_several_classes_are_found_as_each_alone(toy_workdir, shown):
    query = toy_pictures.square(30)[0]
    several = Segmenter.from_checkpoint(toy_workdir, batch=2)
    several.set_support({"red": toy_pictures.pairs(2), "other": toy_pictures.pairs(1, first=5)})
    (found,) = several.predict(query)
    (alone,) = shown.predict(query)
    np.testing.assert_allclose(found.probabilities["red"], alone.probability, atol=1e-5)
    assert set(found.masks) == {"red", "other"}
    assert ((found.label > 0) == (found.masks["red"] | found.masks["other"])).all()
    with pytest.raises(ValueError, match=r"several classes: use masks\['red'\]"):
        _ = found.mask


def test_confidence_is_one_for_sure_masks_and_zero_without_one():
    mask = np.zeros((4, 5), bool)
    assert Prediction({"object": mask}, {"object": np.full((4, 5), 0.4)}).confidence() == 0
    mask[1:3] = True
    sure = Prediction({"object": mask}, {"object": mask.astype(np.float32)})
    assert sure.confidence() == 1
    half = Prediction({"object": mask}, {"object": np.where(mask, 0.75, 0.25)})
    assert half.confidence() == pytest.approx(0.75 * 10 / (10 + 0.25 * 10))


def test_tiles_of_a_large_image_agree_with_its_parts(toy_workdir):
    images, masks = toy_pictures.pairs(1)
    large = np.tile(toy_pictures.square(40, 32, 32)[0], (3, 2, 1))
    tiled = Segmenter.from_checkpoint(toy_workdir, batch=4, tile=32)
    tiled.set_support(images, masks)
    (found,) = tiled.predict(large)
    assert found.mask.shape == (96, 64)
    (first,) = tiled.predict(large[:32, :32])
    # No other tile reaches the first one's corner.
    np.testing.assert_allclose(found.probability[:8, :8], first.probability[:8, :8], atol=1e-5)
    (many,) = list(tiled.stream(iter([large])))
    same(found, many)


@pytest.mark.parametrize("length, tile", [(10, 16), (33, 32), (64, 32), (1000, 64)])
def test_tiles_cover_everything_and_their_weights_sum_to_one(length, tile):
    parts = tiles.spans(length, tile)
    total = np.zeros(length)
    for (start, stop), weight in zip(parts, tiles.ramps(parts), strict=True):
        assert stop - start <= tile
        total[start:stop] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for (_, stop), (start, _) in zip(parts, parts[1:], strict=False):
        assert stop - start >= tiles.OVERLAP * tile


def test_stretch_is_unwarp():
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    unwarp = jax.jit(imaging.unwarp, static_argnums=2)
    for height, width in [(20, 13), (3, 4), (7, 5)]:
        expected = unwarp(jnp.asarray(values), jnp.array([height, width]), 20)
        np.testing.assert_allclose(
            tiles.stretch(values, height, width), expected[:height, :width], atol=1e-5
        )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda i, m: (i, m[:1]), "2 images and 1 masks"),
        (lambda i, m: ([], []), "0 images and 0 masks"),
        (lambda i, m: (i, [m[0], m[1][:-1]]), "mask 2 of class 'object' is 36 x 39, its image"),
        (lambda i, m: (i, [m[0], m[1] & False]), "mask 2 of class 'object' is empty"),
        (lambda i, m: ({}, None), "the dict of supports is empty"),
        (lambda i, m: (i, None), "give images and masks of one class, or one dict"),
    ],
)
def test_a_wrong_support_is_one_clear_line(shown, change, message):
    with pytest.raises(ValueError, match=message):
        shown.set_support(*change(*toy_pictures.pairs(2)))
    assert shown.predict(toy_pictures.square(3)[0])  # the old support is still there


def clicks(mask, value):
    """A mask of which a few pixels are decided, 1 and 0; the rest is `value`."""
    sparse = np.full(mask.shape, value, np.int16 if value < 0 else np.uint8)
    for side in (0, 1):
        rows, cols = np.nonzero(mask == side)
        some = np.linspace(0, len(rows) - 1, 40).astype(int)
        sparse[rows[some], cols[some]] = side
    return sparse


@pytest.mark.slow
def test_clicks_leave_the_rest_of_a_support_undecided(tmp_path):
    """PANet pools what is marked: an undecided pixel's color is nothing to it, a decided one's is."""
    model = methods.build("panet", width=1 / 16, preprocessing="centered")
    image, mask = toy_pictures.square(3, 64, 64)
    rgb = jnp.zeros((1, 1, 64, 64, 3))
    variables = jax.jit(model.init)(jax.random.key(0), rgb, rgb[..., 0], rgb)
    view = View(64, 64, 64, 64, (0.0, 0.0, 0.0), "ignore")
    segmenter = Segmenter(model, variables, view, batch=1)
    path = tmp_path / "clicks.png"
    Image.fromarray(clicks(mask, 255)).save(path)
    found = []
    for given in (clicks(mask, 255), clicks(mask, -1), path, mask):
        segmenter.set_support(image, given)
        found.append(segmenter.predict(image)[0])
    same(found[0], found[1], 0)
    same(found[0], found[2], 0)
    assert np.abs(found[0].probability - found[3].probability).max() > 1e-3


def test_clicks_are_refused_by_a_method_that_needs_masks(toy_workdir):
    image, mask = toy_pictures.square(3)
    with pytest.raises(ValueError, match="undecided, and OSLSM needs whole masks"):
        Segmenter.from_checkpoint(toy_workdir).set_support(image, clicks(mask, 255))


def test_an_object_too_small_for_the_network_is_said_so(toy_workdir):
    segmenter = Segmenter.from_checkpoint(toy_workdir)
    mask = np.zeros((400, 400), bool)
    mask[0, 0] = True
    with pytest.raises(ValueError, match="too small to be seen"):
        segmenter.set_support(np.zeros((400, 400, 3), np.uint8), mask)
    with pytest.raises(ValueError, match="call set_support first"):
        segmenter.predict([mask])


@pytest.mark.parametrize(
    "config, known",
    [
        ("oslsm/general", "d85266ef0ce6a6f15cf0f991bfbeb2082a27f1357cc35ec5cf51bfe1ae8157f1"),
        (
            "fitted/efficientnet_lite2",
            "73bc7b66abd3bbc917e7d0ca3fdbac71abb7bc7ec6326079b0c0ed09bcaa46e3",
        ),
    ],
)
def test_a_model_keeps_its_fingerprint(config, known):
    """Folders labelled before are taken as done only while it is this.

    It hashes the model's fields as text: a field more on a method's class changes it, so that what is
    new about a method has to be a class attribute (fss_jax.methods.contract). Zeros stand for the
    weights. Another setting in one of these configs changes it rightly; then write the new one here.
    """
    config = configs.get(config)
    model = methods.build_from(config)
    shapes = jax.eval_shape(lambda: methods.init_variables(model, config))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    view = protocols.get(config.protocol).view(config)
    assert Segmenter(model, zeros, view).fingerprint() == known


@pytest.mark.slow
def test_a_method_without_weights_needs_no_checkpoint_and_others_say_what_is_missing():
    config = configs.get("cosegment/small")
    config.support_size = config.query_size = config.canvas = 64
    segmenter = Segmenter.from_config(config)
    segmenter.set_support(*toy_pictures.pairs(2))
    (found,) = segmenter.predict(toy_pictures.pairs(3)[0][-1])
    assert found.mask.dtype == bool and found.expected_iou() is None
    with pytest.raises(ValueError, match="'nearest' has weights, and its config names none"):
        nearest = configs.get("nearest/squeezenet")
        nearest.init = ""
        Segmenter.from_config(nearest)


def test_importing_the_package_loads_nothing():
    code = "import sys, fss_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
