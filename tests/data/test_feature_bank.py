"""Features in place of images: of the same pixels, whatever keeps them and however they are shown."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from fss_jax.data import bank as banks
from fss_jax.data import datasets, feature_bank
from fss_jax.data.encoded import Encoded
from fss_jax.data.feature_bank import Look

FILL = (120.0, 110.0, 100.0)
SIDE, CANVAS = 24, 40
PLAIN = (Look(),)


def encode(images):
    """The image itself, a hundredth, and its means over 4 x 4 pixels."""
    *lead, h, w, c = images.shape
    means = images.reshape(*lead, h // 4, 4, w // 4, 4, c).mean((-4, -2))
    return Encoded({"fine": images / 100, "coarse": means}, (h, w))


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "test", toy_data)


def gather(bank, *records, key=None, **settings):
    return jax.jit(functools.partial(feature_bank.gather, **settings))(bank, *records, key=key)


def stored(split, folder, entries=PLAIN, dtype="float16", encode=encode, weights="a"):
    settings = {"canvas": CANVAS, "size": SIDE, "fill": FILL, "entries": entries, "dtype": dtype}
    return feature_bank.stored(folder, split, encode, depends_on=weights, **settings)


RECORDS = np.arange(6, dtype=np.int32).reshape(3, 2), np.arange(6, 9, dtype=np.int32)[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_they_are_the_features_of_the_gathered_images(split, tmp_path, dtype):
    found = stored(split, tmp_path, dtype=dtype)
    bank = found.bank(split, CANVAS)
    ours = gather(bank, *RECORDS, score_size=32, void="ignore")
    sizes = {"support_size": SIDE, "query_size": SIDE, "score_size": 32}
    cut = jax.jit(functools.partial(banks.gather, **sizes, fill=FILL, void="ignore"))
    images = cut(banks.load_bank(split, CANVAS), *RECORDS)
    tolerance = {"float16": 2**-10, "bfloat16": 2**-7}[dtype]
    for seen, pixels in (
        (ours.support_image, images.support_image),
        (ours.query_image, images.query_image),
    ):
        assert seen.size == (SIDE, SIDE)
        for name, x in encode(pixels).maps.items():
            np.testing.assert_allclose(seen.maps[name], x, rtol=tolerance, atol=1e-3)
    for name in ("support_mask", "query_mask", "query_valid", "query_size"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(images, name))


@pytest.mark.slow
def test_a_part_of_the_images_is_a_bank_as_well(split, tmp_path):
    found = stored(split, tmp_path)
    support, query = RECORDS
    used = np.unique(split.item_image[np.concatenate([support, query], 1)]).tolist()
    whole, part = found.bank(split, CANVAS), found.bank(split, CANVAS, used)
    assert len(part.sizes) == len(used) < len(whole.sizes)
    a, b = (gather(bank, *RECORDS, score_size=SIDE, void="background") for bank in (whole, part))
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_entries_show_image_and_mask_alike(split, tmp_path):
    """Mirrored and enlarged: what the mask marks has the class's color, as in the image itself."""
    entries = feature_bank.looks(True, (1.5,))
    assert [(e.flip, e.zoom) for e in entries] == [
        (False, 1.0),
        (True, 1.0),
        (False, 1.5),
        (True, 1.5),
    ]
    bank = stored(split, tmp_path, entries).bank(split, CANVAS)
    items = np.arange(len(split.items), dtype=np.int32)[:, None]
    plain = gather(bank, items, items, score_size=SIDE, void="background")
    drawn = gather(bank, items, items, score_size=SIDE, void="background", key=jax.random.key(0))
    changed = 0
    for n in range(len(items)):
        color = np.asarray(toy.COLORS[split.items[n][1] - 1])
        image = 100 * np.asarray(drawn.query_image.maps["fine"][n, 0])
        mask = np.asarray(drawn.query_mask[n, 0]) > 0
        near = np.abs(image - color).max(-1) < 60
        assert mask.sum() == 0 or near[mask].mean() > 0.7
        assert near[~mask].mean() < 0.1
        changed += not np.array_equal(mask, plain.query_mask[n, 0] > 0)
        flipped = 100 * np.asarray(bank.maps["fine"][bank.item_image[n], 1], np.float32)
        original = 100 * np.asarray(bank.maps["fine"][bank.item_image[n], 0], np.float32)
        np.testing.assert_allclose(flipped, original[:, ::-1], atol=0.2)
    assert changed > len(items) / 3
    apart = [
        not np.array_equal(a, b) for a, b in zip(drawn.support_mask, drawn.query_mask, strict=True)
    ]
    assert any(apart)  # support and query are drawn apart


def test_they_are_computed_once_for_what_they_depend_on(split, tmp_path):
    calls = []

    def counted(images):
        calls.append(images.shape)
        return encode(images)

    first = stored(split, tmp_path, encode=counted)
    computed = len(calls)
    again = stored(split, tmp_path, encode=counted)
    assert again.path == first.path and len(calls) <= computed + 1  # its shapes at most
    other = [
        stored(split, tmp_path, weights="b"),
        stored(split, tmp_path, dtype="bfloat16"),
        stored(split, tmp_path, (Look(), Look(True))),
    ]
    assert len({first.path, *(found.path for found in other)}) == 4
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    first.path.write_bytes(other[2].path.read_bytes())
    with pytest.raises(ValueError, match="damaged: delete it"):
        first.read([0])


def test_what_cannot_be_is_told(split, tmp_path):
    with pytest.raises(ValueError, match="features 'int8': expected one of float16, bfloat16"):
        stored(split, tmp_path, dtype="int8")
    with pytest.raises(ValueError, match="expected 1 or more"):
        feature_bank.looks(False, (0.5,))
    assert not list(tmp_path.iterdir())


def test_a_type_keeps_what_it_can(split, tmp_path):
    """Values beyond float16's largest would become infinite: told, not kept."""

    def large(images):
        return Encoded({"x": images * jnp.float32(1e4)}, images.shape[-3:-1])

    with pytest.raises(ValueError, match="too large for float16"):
        stored(split, tmp_path, encode=large)
    stored(split, tmp_path, encode=large, dtype="bfloat16")
