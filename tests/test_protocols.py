"""Protocols: every name gives a list, frozen, filtered as stated."""

import dataclasses
import hashlib

import numpy as np
import pytest

from fss_jax import datasets, protocols
from fss_jax.episodes import format_records


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "train", toy_data)


def test_the_oslsm_protocols_are_the_release_s_but_for_the_size():
    release, paper = protocols.get("oslsm_release"), protocols.get("oslsm_paper")
    assert (release.episodes, release.seed, release.score_size) == (1000, 1385, 500)
    assert release.void == "background" and release.min_lattice_hits == 3
    changed = {"name": "oslsm_paper", "score_size": 0, "source": paper.source}
    assert dataclasses.replace(release, **changed) == paper


@pytest.mark.shared
def test_the_release_s_protocol_gives_its_published_list(shared, split):
    """Fold 1, 1-shot (protocols.md A.8): a protocol is no more than its items say."""
    lines = (shared / "protocols/oslsm/items_fold1.txt").read_text().splitlines()
    items = tuple((image_id, int(class_id)) for image_id, class_id in map(str.split, lines))
    records = protocols.get("oslsm_release").records(dataclasses.replace(split, items=items), 1)
    digest = hashlib.sha256(format_records(records).encode()).hexdigest()
    assert digest == "13bc476f5188a907697ac646c2940e242694a751ac42233ac44b7956cabe17b0"


def test_filters_are_the_protocol_s(split):
    strict = dataclasses.replace(protocols.get("oslsm_release"), min_lattice_hits=1)
    assert (strict.filter(split).item_lattice_hits >= 1).all()
    assert 0 < len(strict.filter(split).items) < len(split.items)
    large = dataclasses.replace(strict, min_lattice_hits=0, min_area=168)
    assert (large.filter(split).item_area >= 168).all()


def test_a_list_is_the_same_every_time_and_another_with_other_shots(split):
    uniform = protocols.get("uniform")
    one, again, other = (uniform.records(split, shots) for shots in (1, 1, 2))
    assert len(one) == 1000
    assert format_records(one) == format_records(again)
    assert other.support.shape == (1000, 2)
    classes = np.bincount(one.class_id, minlength=7)[1:] / len(one)
    np.testing.assert_allclose(classes, 1 / 6, atol=0.05)


def test_protocols_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocols.get("uniform").seed = 1


def test_an_unknown_protocol_lists_the_known_ones():
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        protocols.get("oslsm_relaese")
    assert "did you mean 'oslsm_release'?" in str(error.value)
    assert all(name in str(error.value) for name in protocols.PROTOCOLS)
