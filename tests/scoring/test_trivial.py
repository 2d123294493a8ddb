"""The predictors that do not segment, on episodes made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax.data.bank import Episode
from fss_jax.data.records import EpisodeSampler
from fss_jax.scoring import trivial

RED, GRAY, BLUE = (220.0, 30.0, 30.0), (128.0, 128.0, 128.0), (30.0, 30.0, 220.0)


def painted(side, *boxes):
    """A gray picture with (rows, columns, color) boxes, and the mask of the first."""
    image = np.broadcast_to(np.asarray(GRAY, np.float32), (side, side, 3)).copy()
    for rows, cols, color in boxes:
        image[rows, cols] = color
    mask = np.zeros((side, side), np.float32)
    mask[boxes[0][0], boxes[0][1]] = 1.0
    return image, mask


@pytest.fixture(scope="module")
def episode():
    """Two red supports at 8 pixels; a query at 16 with a red object elsewhere and a blue one."""
    supports = [
        painted(8, (slice(0, 3), slice(0, 3), RED)),
        painted(8, (slice(5, 8), slice(4, 8), RED)),
    ]
    image, mask = painted(16, (slice(2, 9), slice(9, 15), RED), (slice(10, 14), slice(1, 5), BLUE))
    return Episode(
        support_image=jnp.asarray([[s[0] for s in supports]]),
        support_mask=jnp.asarray([[s[1] for s in supports]]),
        query_image=jnp.asarray([[image, image[::-1]]]),
        query_mask=jnp.asarray([[mask, mask[::-1]]]),
        query_valid=jnp.ones((1, 2, 16, 16)),
        query_size=jnp.full((1, 2, 2), 16),
    )


def test_everything_is_the_object(episode):
    assert (trivial.all_object(episode) > 0).all()
    assert trivial.all_object(episode).shape == (1, 2, 16, 16)


def test_the_supports_masks_are_copied_at_the_query_s_size(episode):
    union = np.asarray(episode.support_mask[0].max(0)) > 0
    expected = union.repeat(2, 0).repeat(2, 1)
    copied = np.asarray(trivial.copy_support(episode)) > 0
    np.testing.assert_array_equal(copied, np.stack([expected, expected])[None])


@pytest.mark.slow
def test_the_histogram_finds_the_support_s_color_wherever_it_is(episode):
    found = np.asarray(trivial.colour_histogram(episode)) > 0
    np.testing.assert_array_equal(found, np.asarray(episode.query_mask) > 0)


def test_the_histogram_of_an_empty_support_claims_nothing_it_saw_beside_the_object(episode):
    blind = episode.replace(support_mask=jnp.zeros_like(episode.support_mask))
    found = np.asarray(trivial.colour_histogram(blind)) > 0
    assert not found.any()


def test_a_zeroed_support_is_the_mean_color_with_an_empty_mask(episode):
    image, mask = trivial.zero_support(episode, (1.0, 2.0, 3.0))
    assert image.shape == episode.support_image.shape and not mask.any()
    assert np.unique(np.asarray(image).reshape(-1, 3), axis=0).tolist() == [[1.0, 2.0, 3.0]]


# Classes 1 and 2 share image "ab"; class 3 has three images of its own.
ITEMS = [("a", 1), ("a2", 1), ("ab", 1), ("ab", 2), ("b", 2), ("b2", 2)]
ITEMS += [("c", 3), ("c2", 3), ("c3", 3)]


def test_wrong_supports_show_another_class_and_never_the_record_s():
    records = EpisodeSampler(ITEMS, shots=2, rule="class_uniform", seed=0).records(0, 300)
    wrong = trivial.wrong_supports(records)
    assert wrong.shape == (300, 2) and wrong.dtype == np.int32
    with_class = {c: {image for image, d in ITEMS if d == c} for c in (1, 2, 3)}
    chosen = set()
    for own, row in zip(records.class_id.tolist(), wrong, strict=True):
        (other,) = {ITEMS[i][1] for i in row}
        assert other != own and row[0] != row[1]
        assert not {ITEMS[i][0] for i in row} & with_class[own]
        chosen.add((own, other))
    assert chosen == {(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)}
    np.testing.assert_array_equal(trivial.wrong_supports(records[:50]), wrong[:50])


def test_without_another_class_there_is_no_wrong_support():
    records = EpisodeSampler(ITEMS[:3], shots=1, rule="class_uniform", seed=0).records(0, 3)
    with pytest.raises(ValueError, match="^no class but 1 .*--notrivial[^\n]*$"):
        trivial.wrong_supports(records)
