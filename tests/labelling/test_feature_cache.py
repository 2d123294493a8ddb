"""Features are computed once a picture, kept on disk, not believed when damaged, and change nothing."""

import argparse
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders.masks import read_mask
from fss_jax import Segmenter
from fss_jax.data.view import View
from fss_jax.labelling import job, supports, watching
from fss_jax.labelling.feature_cache import FeatureCache
from fss_jax.methods.contract import Method

VIEW = View(16, 16, 16, 32, (0.0, 0.0, 0.0), "background")


class Redness(Method):
    """Object is what is nearer to the object's mean color; counts the pictures it encodes."""

    preprocessing: str = "unit"
    trained = False
    takes_undecided = True
    in_parts = True

    def features(self, image, *, train=False):
        jax.debug.callback(lambda: ENCODED.append(image.shape[1]))
        return {"color": image / 255.0, "red": image[..., :1] / 255.0}

    def fit(self, features, mask):
        def mean(side):
            total = (features["color"].astype(jnp.float32) * side[..., None]).sum((1, 2, 3))
            return total / side.sum((1, 2, 3))[..., None]

        return {"object": mean((mask == 1) * 1.0), "background": mean((mask == 0) * 1.0)}

    def answer(self, task, features, image):
        def distance(name):
            off = features["color"].astype(jnp.float32) - task[name][:, None, None, None]
            return jnp.square(off).sum(-1)

        return distance("background") - distance("object")

    def judge(self, task, features, size):
        share = (self.answer(task, features, None) > 0).mean((2, 3))
        there = 1.0 * (share > 0.02)
        return {"present": 0.1 + 0.8 * there, "expected_iou": 1 - share, "found": there}

    def agreement(self, task):
        return jnp.full((1, 8), 0.9).at[0, 1].set(0.01)


ENCODED = []


def segmenter(cache=None, **sizes):
    ENCODED.clear()
    return Segmenter(Redness(), {}, VIEW, cache=cache, **sizes)


def encoded():
    jax.effects_barrier()
    return sum(ENCODED)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def entries(cache):
    return sorted(path for path in cache.folder.iterdir())


LIKE = {
    "a": jax.ShapeDtypeStruct((2, 3), jnp.float16),
    "b": jax.ShapeDtypeStruct((4,), jnp.float16),
}
KEY = "ab" * 32


def numbers(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=x.shape).astype(np.float16) for name, x in LIKE.items()}


def test_an_entry_comes_back_as_it_was(cache):
    cache.put(KEY, numbers())
    for found in (cache.get(KEY, LIKE), FeatureCache(cache.folder).get(KEY, LIKE)):
        for name, x in numbers().items():
            np.testing.assert_array_equal(found[name], x)
    assert cache.get("cd" * 32, LIKE) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data + b"\0",
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
)
def test_a_damaged_entry_is_not_believed(cache, damage):
    cache.put(KEY, numbers())
    (path,) = entries(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY, LIKE) is None
    cache.put(KEY, numbers())
    assert cache.get(KEY, LIKE) is not None


def test_an_entry_under_another_name_is_not_believed(cache):
    cache.put(KEY, numbers())
    os.replace(cache.folder / KEY, cache.folder / ("cd" * 32))
    assert cache.get("cd" * 32, LIKE) is None


def test_the_limit_holds_and_what_is_in_use_stays(cache):
    cache.put(KEY, numbers())
    size = entries(cache)[0].stat().st_size
    small = FeatureCache(cache.folder, 3 * size)
    keys = [f"{n:064d}" for n in range(6)]
    os.utime(cache.folder / KEY, (1, 1))  # of an earlier run
    for key in keys:
        small.put(key, numbers())
    names = [path.name for path in entries(small)]
    assert KEY not in names and len(names) in (2, 3) and names[:2] == keys[:2]


def test_a_folder_that_is_deleted_or_closed_does_no_harm(cache):
    for path in entries(cache):
        path.unlink()
    cache.folder.rmdir()
    cache.put(KEY, numbers())
    assert cache.get(KEY, LIKE) is None


def test_kept_features_give_the_same_answer_and_are_computed_once(cache):
    images = [toy_pictures.square(seed, 40, 36)[0] for seed in range(20, 24)]
    plain, kept = segmenter(), segmenter(cache)
    for one in (plain, kept):
        one.set_support(*toy_pictures.pairs(3))
    expected = plain.predict(images)
    encoded()
    ENCODED.clear()
    first = kept.predict(images)
    assert encoded() == 4
    again = segmenter(cache)
    again.set_support(*toy_pictures.pairs(3))
    second = again.predict(images)
    assert encoded() == 0  # in a new process, too
    for a, b, c in zip(expected, first, second, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
        np.testing.assert_array_equal(a.probability, c.probability)
    victim = entries(cache)[0]
    victim.write_bytes(victim.read_bytes()[:-2] + b"\0\0")
    for one in entries(cache)[1:3]:
        one.unlink()
    again = segmenter(cache)
    again.set_support(*toy_pictures.pairs(3))
    for a, b in zip(expected, again.predict(images), strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
    assert encoded() == 3
    other = Segmenter(Redness(preprocessing="torchvision"), {}, VIEW, cache=cache)
    ENCODED.clear()
    other.set_support(*toy_pictures.pairs(1))
    assert encoded() == 1  # another network's features are others


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_number_of_supports_is_the_same_as_fitting_them_alone(count):
    images, masks = toy_pictures.pairs(count)
    one = segmenter()
    one.set_support(images, masks)
    found = one.predict(images[0])[0]
    assert (found.mask == masks[0]).mean() > 0.95


@pytest.mark.slow
def test_what_is_not_there_has_an_empty_mask_and_says_so():
    one = segmenter()
    one.set_support(*toy_pictures.pairs(2))
    image, _ = toy_pictures.square(3)
    there, nothing = one.predict([image, np.full((40, 36, 3), 115, np.uint8)])
    assert there.present() == pytest.approx(0.9) and there.mask.any()
    assert there.expected_iou() == pytest.approx(1 - there.mask.mean(), abs=0.1)
    assert nothing.present() == pytest.approx(0.1) and not nothing.mask.any()
    assert nothing.expected_iou() == pytest.approx(0.9)


@pytest.mark.slow
def test_supports_that_contradict_the_others_are_named():
    one = segmenter()
    one.set_support(*toy_pictures.pairs(3))
    (line,) = one.doubts
    assert line.startswith("mask 2 of class 'object'") and "IoU 0.01" in line
    one.set_support(*toy_pictures.pairs(1))
    assert one.doubts == []


@pytest.mark.slow
@pytest.mark.parametrize(("side", "named"), [(8, False), (2, True)])
def test_a_support_whose_object_fills_no_cell_is_named(side, named):
    """Of 32 pixels a side, which are seen at half of it, so that 8 are a cell of 4."""

    class Cells(Redness):
        smallest = 4

    one = Segmenter(Cells(), {}, VIEW)
    mask = np.zeros((32, 32), np.uint8)
    mask[10 : 10 + side, 10 : 10 + side] = 1
    one.set_support(np.full((32, 32, 3), 90, np.uint8), mask)
    assert [("smaller than a cell, 4 x 4" in line) for line in one.doubts] == [True] * named


def flags(place):
    return argparse.Namespace(
        support=place / "square",
        images=place / "images",
        out=place / "out",
        coco="",
        labelme=False,
        instances=False,
    )


@pytest.fixture
def place(tmp_path):
    toy_pictures.write_support(tmp_path / "square", 2)
    toy_pictures.write_images(tmp_path / "images", 3)
    Image.new("RGB", (30, 20), (115, 115, 115)).save(tmp_path / "images/none.png")
    return tmp_path


def test_the_table_says_what_is_not_there_and_has_the_worst_first(place, cache):
    labels, shown = job.open_folder(flags(place))
    one = segmenter(cache)
    one.set_support(shown)
    assert job.label(one, labels, progress=False) == []
    header, *rows = (place / "out/labels.csv").read_text().splitlines()
    assert header == "image,width,height,area,confidence,present,expected_iou,note"
    expected = [float(row.split(",")[6]) for row in rows]
    assert expected == sorted(expected)
    (none,) = (row.split(",") for row in rows if row.startswith("none"))
    assert none[3:7] == ["0", "0.0", "0.1", "0.9000"]
    assert not read_mask(place / "out/masks/none.png").any()
    lines = job.told(labels)
    assert lines[0].startswith("empty masks, as nothing") and "there: 1 of" in lines[0]
    assert rows[0].split(",")[0] in lines[1]


@pytest.mark.slow
def test_watching_labels_again_after_a_correction_and_a_new_picture(place, cache):
    one = segmenter(cache)
    rounds = watching.watch(one, flags(place), pause=0.01)
    told = [next(rounds)]
    while not told[-1].startswith("watching"):
        told.append(next(rounds))
    assert told[0].startswith("4 images labelled") and "2 examples, 0 of them" in told[0]
    _, truth = toy_pictures.square(100, 50, 70)
    Image.fromarray(truth).save(place / "out/masks/0.png")
    encoded()
    ENCODED.clear()
    while "labelled" not in (line := next(rounds)):
        pass
    assert line.startswith("3 images labelled") and "3 examples, 1 of them" in line
    assert encoded() == 0  # only the head ran
    entries = job.open_folder(flags(place))[0].manifest.entries
    assert all("changed" in entries[n]["classes"]["square"] for n in ("1.png", "2.png", "none.png"))
    np.testing.assert_array_equal(read_mask(place / "out/masks/0.png"), truth)

    (place / "square/label/0.png").write_bytes(b"half")
    while "label/0.png" not in next(rounds):  # what cannot be read is told, and watching goes on
        pass
    toy_pictures.write_support(place / "square", 2)
    Image.fromarray(toy_pictures.square(9)[0]).save(place / "images/new.png")
    while "labelled" not in (line := next(rounds)):
        pass
    assert (place / "out/masks/new.png").exists()


def test_the_same_support_of_two_classes_is_named(tmp_path):
    for name in ("mug", "cup"):
        toy_pictures.write_support(tmp_path / name, 1)
    (line,) = supports.shared(supports.read(tmp_path))
    assert "is a support of 'cup' and of 'mug'" in line
    Image.fromarray(~toy_pictures.square(0)[1]).save(tmp_path / "mug/label/0.png")
    assert supports.shared(supports.read(tmp_path)) == []
