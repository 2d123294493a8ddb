"""Every pair of a split: equal to the loop over sampled episodes' code, and what is drawn from it."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from fss_jax import methods
from fss_jax.data import bank as banks
from fss_jax.data.records import Records
from fss_jax.methods.relation import RelationNetwork
from fss_jax.runtime.devices import replicate
from fss_jax.scoring import evaluation, exhaustive, metrics
from fss_jax.scoring.exhaustive import ClassPairs
from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies import every_pair


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return toy_run.save(tmp_path_factory.mktemp("exhaustive"), seed=0)


@pytest.fixture(scope="module")
def result(workdir):
    return every_pair.evaluate(workdir, protocol="uniform")


def brute_force(run, shots):
    """Every episode one by one through the code of sampled lists: records and their counts."""
    class_of = np.asarray([class_id for _, class_id in run.data.items])
    rows = [
        (class_of[q], support, [q])
        for q in range(len(class_of))
        for support in itertools.combinations(np.flatnonzero(class_of == class_of[q]), shots)
        if q not in support
    ]
    records = Records(run.data.items, *(np.asarray(c, np.int32) for c in zip(*rows, strict=True)))
    devices = jax.local_devices()[:1]
    evaluator = evaluation.Evaluator(
        run.model, run.view, devices, batch=len(rows) // 4, with_trivial=False
    )
    bank = banks.load_bank(run.data, run.config.canvas)
    variables = replicate(run.variables, devices)
    return records, evaluator.counts(variables, replicate(bank, devices), records)["method"][:, 0]


def same_counts(run, result, records, counts):
    assert result["pairs"] == len(records)
    for name, entry in result["per_class"].items():
        mine = counts[records.class_id == run.data.class_names.index(name)]
        assert [entry["tp"], entry["fp"], entry["fn"]] == mine.sum(0)[:3].tolist()
        assert entry["iou"] == pytest.approx(metrics.iou(mine.sum(0)))
    scores = metrics.score(counts, records.class_id, run.data.item_image[records.query[:, 0]])
    assert result["expected_miou"] == pytest.approx(scores.miou)
    assert 0 < scores.miou < 1


@pytest.mark.slow
def test_all_pairs_equal_the_loop_over_episodes_to_the_last_count(workdir, result):
    run = open_workdir(workdir, protocol="uniform")
    same_counts(run, result, *brute_force(run, 1))


@pytest.mark.slow
def test_all_sets_of_two_supports_equal_the_loop_over_episodes(workdir):
    run = open_workdir(workdir, protocol="uniform")
    result = every_pair.evaluate(workdir, shots=2, protocol="uniform")
    same_counts(run, result, *brute_force(run, 2))
    stem = workdir / "results" / "exhaustive_2shot"
    assert json.loads(stem.with_suffix(".json").read_text())["shots"] == 2
    assert stem.with_suffix(".png").stat().st_size > 1000
    worst = next(iter(result["per_class"].values()))["worst_support"]["image"]
    assert worst.count(",") == 1


@pytest.mark.slow
def test_a_task_of_several_supports_is_merged_from_their_own():
    """The relation network encodes each image by itself, in both forms."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(0, 255, (1, 3, 32, 32, 3)), jnp.float32)
    mask = (image[..., 0] > 100).astype(jnp.float32)
    for form in ("release", "paper"):
        model = RelationNetwork(width=1 / 64, form=form, batch_norm="running")
        variables = jax.jit(model.init)(jax.random.key(0), image, mask, image)

        @jax.jit
        def tasks(variables, model=model):
            together = model.apply(variables, image, mask, method="condition")
            each = image.swapaxes(0, 1), mask.swapaxes(0, 1)
            alone = model.apply(variables, *each, method="condition")
            alone = jax.tree.map(lambda leaf: leaf[None], alone)
            return together, model.apply(variables, alone, method="merge")

        together, merged = tasks(variables)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(merged), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_every_set_of_the_others_occurs_once():
    sets = exhaustive.support_sets(6, 3)
    assert sets.shape == (6, 10, 3)
    for query in range(6):
        others = [i for i in range(6) if i != query]
        expected = set(itertools.combinations(others, 3))
        assert set(map(tuple, sets[query].tolist())) == expected


@pytest.mark.slow
def test_the_result_is_kept_as_json_table_and_picture(workdir, result):
    stem = workdir / "results" / "exhaustive_1shot"
    assert json.loads(stem.with_suffix(".json").read_text()) == json.loads(json.dumps(result))
    assert f"{100 * result['expected_miou']:.2f} %" in stem.with_suffix(".md").read_text()
    assert stem.with_suffix(".png").stat().st_size > 1000
    low, high = result["list_range95"]
    assert low <= result["expected_miou"] <= high
    for entry in result["per_class"].values():
        assert entry["best_support"]["mean_iou"] >= entry["worst_support"]["mean_iou"]


def pairs_of(ious):
    """One class whose pair (s, q) has the IoU ious[s][q] with a union of 100 pixels."""
    tp = np.round(100 * np.asarray(ious)).astype(np.int64)
    zero = np.zeros_like(tp)
    counts = np.stack([tp, 100 - tp, zero, zero], -1)
    members = exhaustive.support_sets(len(tp), 1)
    queries = np.arange(len(tp))[:, None]
    return ClassPairs(1, np.arange(len(tp)), members, counts[members[..., 0], queries])


def test_a_support_is_judged_by_the_other_images():
    means = every_pair.support_means(pairs_of([[0, 0.9, 0.7], [0.1, 0, 0.3], [0.5, 0.5, 0]]))
    assert means == pytest.approx({(0,): 0.8, (1,): 0.2, (2,): 0.5})


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_sampled_lists_scatter_around_the_expected_score(metric):
    rng = np.random.default_rng(0)
    pairs = [pairs_of(rng.uniform(0.2, 0.9, (8, 8))) for _ in range(3)]
    expected = exhaustive.expected_miou(pairs, metric)
    few = exhaustive.sampled_spread(pairs, 60, metric=metric)
    many = exhaustive.sampled_spread(pairs, 600, metric=metric)
    assert few[0] < many[0] < expected < many[1] < few[1]


@pytest.mark.parametrize(
    "method, fields, shots, said",
    [
        ("relation", {"batch_norm": "batch"}, 1, "depends on the other images"),
        ("relation", {"batch_norm": "episode"}, 2, "normalized together"),
        ("panet", {}, 2, "oslsm, relation"),
        ("oslsm", {}, 9, "needs 10"),
    ],
)
def test_what_has_no_score_of_its_own_is_refused(workdir, method, fields, shots, said):
    run = dataclasses.replace(open_workdir(workdir), model=methods.build(method, **fields))
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        every_pair.check(run, shots)
    assert said in str(error.value)


def test_too_many_sets_are_refused(workdir, monkeypatch):
    monkeypatch.setattr(exhaustive, "MOST_SETS", 2)
    with pytest.raises(ValueError, match="has 6 images: 10 sets of 2 supports"):
        every_pair.check(open_workdir(workdir), 2)
