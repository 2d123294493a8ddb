"""Records: the published lists to the byte, and the samplers' laws."""

import collections
import hashlib

import numpy as np
import published
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fss_jax.data.records import (
    RULES,
    EpisodeSampler,
    Records,
    format_records,
    oslsm_test_records,
    parse_records,
    records_sha256,
)
from fss_jax.scoring.published_lists import OSLSM_ITEMS, OSLSM_LISTS

PUBLISHED = [OSLSM_LISTS[fold : fold + 2] for fold in range(0, 8, 2)]


@pytest.mark.parametrize("fold", range(4))
def test_the_release_s_test_list_is_met_exactly(fold):
    """By the hashes of the lists that the released code yields (protocols.md A.8), on any machine."""
    text = published.oslsm_text(fold)
    assert hashlib.sha256(text.encode()).hexdigest() == OSLSM_ITEMS[fold]
    items = published.oslsm_items(fold)
    for shots in (1, 5):
        records = oslsm_test_records(items, shots=shots)
        assert records_sha256(records) == PUBLISHED[fold][shots == 5]
        assert not (records.support == records.query).any()
        changed = oslsm_test_records([*items[:-1], ("2011_000999", items[-1][1])], shots=shots)
        assert records_sha256(changed) != PUBLISHED[fold][shots == 5]


@pytest.mark.shared
@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("fold", range(4))
def test_the_hashes_are_those_of_the_dumps_of_the_release(shared, fold, shots):
    items = (shared / f"protocols/oslsm/items_fold{fold}.txt").read_text()
    assert items == published.oslsm_text(fold)
    dump = (shared / f"protocols/oslsm/episodes_fold{fold}_{shots}shot.txt").read_text()
    assert hashlib.sha256(dump.encode()).hexdigest() == PUBLISHED[fold][shots == 5]
    records = oslsm_test_records(published.oslsm_items(fold), shots=shots)
    assert format_records(records) == dump


def test_another_seed_is_another_list_and_a_shorter_one_its_start():
    items = published.oslsm_items(0)
    whole = oslsm_test_records(items, shots=1)
    assert format_records(oslsm_test_records(items, shots=1, count=400)) == format_records(
        whole[:400]
    )
    assert records_sha256(oslsm_test_records(items, shots=1, seed=0)) != PUBLISHED[0][0]


# Images a..j; two of them hold three classes, the others one.
ITEMS = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)] + [
    (image_id, class_id) for class_id in (1, 2, 3) for image_id in "cdefghij"[class_id - 1 :: 3]
]


@pytest.fixture(params=RULES)
def sampler(request):
    return EpisodeSampler(ITEMS, shots=2, queries=2, rule=request.param, seed=7)


def same(a: Records, b: Records) -> bool:
    return all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("class_id", "support", "query")
    )


def test_a_record_depends_on_its_position_alone(sampler):
    whole = sampler.records(0, 60)
    assert same(sampler.records(10, 5), whole[10:15])
    assert same(sampler.records(50, 10), whole[50:])  # backwards and across epochs, too
    assert same(sampler.records(0, 20), whole[:20])
    again = EpisodeSampler(ITEMS, shots=2, queries=2, rule=sampler.rule, seed=7)
    assert same(again.records(33, 9), whole[33:42])
    other = EpisodeSampler(ITEMS, shots=2, queries=2, rule=sampler.rule, seed=8)
    assert not same(other.records(0, 60), whole)


def test_support_and_queries_are_distinct_items_of_the_record_s_class(sampler):
    records = sampler.records(0, 200)
    members = np.concatenate([records.support, records.query], 1)
    assert records.support.shape == records.query.shape == (200, 2)
    assert (np.asarray([c for _, c in ITEMS])[members] == records.class_id[:, None]).all()
    assert all(len(set(row)) == 4 for row in members.tolist())


def test_every_other_item_of_the_class_is_a_support_equally_often():
    items = [(f"i{n}", 1) for n in range(5)]
    records = EpisodeSampler(items, shots=2, rule="class_uniform", seed=0).records(0, 4000)
    for query in range(5):
        mine = records.support[records.query[:, 0] == query]
        share = np.bincount(mine.ravel(), minlength=5) / len(mine)
        others = np.arange(5) != query
        assert share[query] == 0
        np.testing.assert_allclose(share[others], 0.5, atol=0.06)  # 2 of 4, four deviations


def query_shares(rule, count):
    sampler = EpisodeSampler(ITEMS, shots=1, rule=rule, seed=3)
    counts = collections.Counter(sampler.records(0, count).query[:, 0].tolist())
    return np.asarray([counts[i] / count for i in range(len(ITEMS))])


def test_image_then_class_takes_every_image_equally_often():
    shares = query_shares("image_then_class", 6000)
    per_image = collections.Counter(image for image, _ in ITEMS)
    expected = [1 / len(per_image) / per_image[image] for image, _ in ITEMS]
    np.testing.assert_allclose(shares, expected, atol=0.016)


def test_class_uniform_takes_every_class_equally_often():
    shares = query_shares("class_uniform", 6000)
    per_class = collections.Counter(class_id for _, class_id in ITEMS)
    expected = [1 / len(per_class) / per_class[class_id] for _, class_id in ITEMS]
    np.testing.assert_allclose(shares, expected, atol=0.016)


def test_every_epoch_of_the_shuffled_walk_visits_each_item_once():
    sampler = EpisodeSampler(ITEMS, shots=1, rule="shuffled_items", seed=3)
    query = sampler.records(0, 5 * len(ITEMS)).query.reshape(5, len(ITEMS))
    assert (np.sort(query, 1) == np.arange(len(ITEMS))).all()
    assert len({tuple(epoch) for epoch in query.tolist()}) == 5  # shuffled anew


def test_draws_in_the_middle_of_another_s_shuffle_get_their_own_records(monkeypatch):
    """The threads of a loader share a sampler: each may be interrupted while an epoch is shuffled."""
    size = len(ITEMS)
    alone = EpisodeSampler(ITEMS, shots=1, rule="shuffled_items", seed=3)
    expected = alone.records(0, 3 * size).query[:, 0].tolist()
    sampler = EpisodeSampler(ITEMS, shots=1, rule="shuffled_items", seed=3)
    sampler.records(0, 1)
    default_rng, between = np.random.default_rng, {}

    def interrupted(key):
        if key == (3, 1, 1) and not between:  # the shuffle of epoch 1
            between.update(dict.fromkeys((size + 4, 3, 2 * size + 2)))
            for position in between:
                between[position] = sampler.records(position, 1).query[0, 0]
        return default_rng(key)

    monkeypatch.setattr(np.random, "default_rng", interrupted)
    assert sampler.records(size, 1).query[0, 0] == expected[size]
    assert len(between) == 3
    assert between == {position: expected[position] for position in between}


words = st.text("abcdefghij_0123456789", min_size=1, max_size=6)


@st.composite
def record_lists(draw):
    pool = st.tuples(words, st.integers(1, 9))
    items = draw(st.lists(pool, min_size=1, max_size=12, unique=True))
    by_class = collections.defaultdict(list)
    for i, (_, class_id) in enumerate(items):
        by_class[class_id].append(i)
    shots, queries, count = (draw(st.integers(1, 3)) for _ in range(3))
    classes = [draw(st.sampled_from(sorted(by_class))) for _ in range(count)]

    def members(number):
        rows = [
            draw(st.lists(st.sampled_from(by_class[c]), min_size=number, max_size=number))
            for c in classes
        ]
        return np.asarray(rows, np.int32)

    return items, np.asarray(classes, np.int32), members(shots), members(queries)


@settings(max_examples=60, deadline=None)
@given(record_lists())
def test_parsing_inverts_formatting(columns):
    records = Records(*columns)
    text = format_records(records)
    again = parse_records(text, records.items)
    assert same(again, records)
    assert format_records(again) == text
    assert records_sha256(again) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "empty"),
        ("1 a\n", "line 1 is '1 a'"),
        ("1 c a\nx c a\n", "line 2 is 'x c a'"),
        ("1 c a\n1 zebra a\n", "'zebra' with class 1 is not among the 14 items"),
        ("2 a c\n", "'c' with class 2"),  # the image exists, but not with that class
        ("1 c a\n1 c a,b\n", "line 2 has 2 supports and 1 queries, the lines before it 1 and 1"),
    ],
)
def test_a_bad_list_is_refused_by_line(text, said):
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        parse_records(text, ITEMS)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"rule": "image_than_class"}, "did you mean 'image_then_class'?"),
        ({"shots": 9}, "an episode needs 10 images of its class"),
        ({"shots": 4, "queries": 2}, "class 3 has 4"),
        ({"items": []}, "no items to draw episodes from"),
    ],
)
def test_impossible_samplers_are_refused_in_a_line(arguments, said):
    arguments = {"items": ITEMS, "shots": 1, "rule": "class_uniform", "seed": 0} | arguments
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        EpisodeSampler(arguments.pop("items"), **arguments)
    assert said in str(error.value)


def test_the_release_s_list_needs_enough_images():
    with pytest.raises(ValueError, match="needs 6 images"):
        oslsm_test_records(ITEMS, shots=5)
