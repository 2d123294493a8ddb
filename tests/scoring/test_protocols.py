"""Protocols: every name gives a list, frozen, filtered as stated."""

import dataclasses
import hashlib

import numpy as np
import published
import pytest

from fss_jax.data import datasets
from fss_jax.data.records import TooFewImages, format_records
from fss_jax.scoring import protocols, published_lists


@pytest.fixture(scope="module")
def split(toy_data):
    return datasets.open_split("toy_squares", "train", toy_data)


def test_the_oslsm_protocols_are_the_release_s_but_for_the_size():
    release, native = protocols.get("oslsm_release"), protocols.get("oslsm_release_native")
    assert (release.episodes, release.seed, release.score_size) == (1000, 1385, 500)
    assert release.void == "background" and release.min_lattice_hits == 3
    changed = {"name": native.name, "score_size": 0, "source": native.source}
    assert dataclasses.replace(release, **changed) == native


def test_the_paper_takes_every_image_that_shows_the_class():
    """One pixel is enough (OSLSM 5); the release's filter wants three points of its lattice."""
    paper = protocols.get("oslsm_paper")
    assert (paper.min_area, paper.min_lattice_hits, paper.score_size, paper.lists) == (1, 0, 0, ())


@pytest.mark.parametrize("fold", range(4))
def test_the_release_s_protocols_give_its_lists(split, fold):
    """All eight (protocols.md A.8): a protocol is no more than its items say."""
    pascal = dataclasses.replace(split, items=tuple(published.oslsm_items(fold)))
    for name in ("oslsm_release", "oslsm_release_native"):
        protocol = protocols.get(name)
        for shots in (1, 5):
            text = format_records(protocol.records(pascal, shots))
            digest = hashlib.sha256(text.encode()).hexdigest()
            assert digest == protocol.lists[2 * fold + (shots == 5)]


@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize("shots", [1, 5])
def test_hsnet_s_list_is_its_file_s_walked_as_its_loader_does(split, fold, shots):
    listed, kept = published.hsnet_items(fold), published.oslsm_items(fold)
    file = "".join(f"{image_id}__{class_id:02d}\n" for image_id, class_id in listed)
    assert hashlib.sha256(file.encode()).hexdigest() == published_lists.HSNET_ITEMS[fold]
    items = sorted({*kept, *listed})
    hits = np.asarray([3 * (item in kept) for item in items])
    whole = dataclasses.replace(
        split,
        items=tuple(items),
        item_image=np.arange(len(items)),
        item_value=hits,
        item_area=hits,
        item_lattice_hits=hits,
    )
    protocol = protocols.get("hsnet")
    assert protocol.filter(whole).items == tuple(listed)

    state, text = np.random.get_state(), ""
    np.random.seed(0)
    for position in range(1000):  # HSNet's loader, with its own calls
        query, class_id = listed[position % len(listed)]
        names = [name for name, other in listed if other == class_id]
        supports = []
        while len(supports) < shots:
            name = np.random.choice(names, 1, replace=False)[0]
            supports += [name] if name != query else []
        text += f"{class_id} {query} {','.join(supports)}\n"
    np.random.set_state(state)
    assert format_records(protocol.records(protocol.filter(whole), shots)) == text
    assert hashlib.sha256(text.encode()).hexdigest() == protocol.lists[2 * fold + (shots == 5)]


def test_panet_s_five_runs_are_five_lists(split):
    panet = dataclasses.replace(protocols.get("panet"), episodes=50)
    records = panet.records(split, 1)
    assert len(records) == 250 and panet.run_of(250).tolist() == [
        r for r in range(5) for _ in range(50)
    ]
    for run in range(5):
        alone = dataclasses.replace(panet, runs=1, seed=1234 + run).records(split, 1)
        assert format_records(records[run * 50 : run * 50 + 50]) == format_records(alone)


def test_canet_walks_the_list_thrice(split):
    records = protocols.get("canet").records(split, 2)
    queries, m = records.query[:, 0].tolist(), len(split.items)
    assert len(records) == 3 * m and queries[:m] == list(range(m))
    assert sorted(queries[m : 2 * m]) == sorted(queries[2 * m :]) == list(range(m))
    assert all(len({q, *s}) == 3 for q, s in zip(queries, records.support.tolist(), strict=True))


def test_pfenet_s_queries_are_images_in_order_and_its_supports_large(split):
    names = split.class_names
    small = [image.endswith("_1") and not image.startswith(names[c]) for image, c in split.items]
    split = dataclasses.replace(split, item_area=np.where(small, 10, 3000))
    protocol = dataclasses.replace(protocols.get("pfenet"), episodes=60)
    filtered = protocol.filter(split)
    records = protocol.records(filtered, 2)
    assert (filtered.item_area[records.support] >= 2048).all()
    assert (filtered.item_area[records.query] < 2048).any()
    images = [filtered.items[q][0] for q in records.query[:, 0]]
    distinct = sorted({image for image, _ in filtered.items})
    assert images == [distinct[n % len(distinct)] for n in range(60)]


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


def test_a_class_with_too_few_images_is_named_with_what_to_do(split):
    """FSS-1000's lists take ten images; without the photograph of a mask peregine_falcon has nine."""
    items = tuple((f"{c}/{n:02d}", c) for c in (1, 2) for n in range(1, 11))
    for name in ("fss1000_paper", "hsnet_fss"):
        whole = dataclasses.replace(split, items=items)
        assert len(protocols.get(name).records(whole, 5)) in (2, 20)
    clean = dataclasses.replace(split, items=tuple(i for i in items if i != ("2/08", 2)))
    with pytest.raises(TooFewImages, match="^[^\n]*$") as caught:
        protocols.get("fss1000_paper").records(clean, 1)
    message = str(caught.value)
    assert f"takes 10 images of every class, but {split.name} has 9 of {split.class_names[2]}" in (
        message
    )
    assert "fss_1000/standard" in message and "hsnet_fss" in message
    assert caught.value.counts == {2: 9} and caught.value.needed == 10
    assert len(protocols.get("hsnet_fss").records(clean, 5)) == 19
