"""Every pair of a split: equal to the loop over sampled episodes' code, and what is drawn from it."""

import json

import jax
import numpy as np
import pytest
import toy_run

from fss_jax import bank as banks
from fss_jax import evaluation, exhaustive, metrics, pair_results
from fss_jax.devices import replicate
from fss_jax.episodes import Records
from fss_jax.exhaustive import ClassPairs
from fss_jax.runs import open_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return toy_run.save(tmp_path_factory.mktemp("exhaustive"), seed=0)


@pytest.fixture(scope="module")
def result(workdir):
    return pair_results.evaluate(workdir, protocol="uniform")


def test_all_pairs_equal_the_loop_over_episodes_to_the_last_count(workdir, result):
    run = open_run(workdir, protocol="uniform")
    class_of = np.asarray([class_id for _, class_id in run.data.items])
    rows = [
        (class_of[s], [s], [q])
        for s in range(len(class_of))
        for q in range(len(class_of))
        if s != q and class_of[s] == class_of[q]
    ]
    records = Records(run.data.items, *(np.asarray(c, np.int32) for c in zip(*rows, strict=True)))
    devices = jax.local_devices()[:1]
    evaluator = evaluation.Evaluator(
        run.model, run.geometry, devices, batch=len(rows) // 4, with_trivial=False
    )
    bank = banks.load_bank(run.data, run.config.canvas)
    variables = replicate(run.variables, devices)
    counts = evaluator.counts(variables, replicate(bank, devices), records)["method"][:, 0]

    assert result["pairs"] == len(rows)
    for name, entry in result["per_class"].items():
        mine = counts[class_of[[r[1][0] for r in rows]] == run.data.class_names.index(name)]
        assert [entry["tp"], entry["fp"], entry["fn"]] == mine.sum(0)[:3].tolist()
        assert entry["iou"] == pytest.approx(metrics.iou(mine.sum(0)))
    scores = metrics.score(counts, records.class_id, run.data.item_image[records.query[:, 0]])
    assert result["expected_miou"] == pytest.approx(scores.miou)
    assert 0 < scores.miou < 1


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
    ious = np.asarray(ious)
    tp = np.round(100 * ious).astype(np.int64)
    zero = np.zeros_like(tp)
    counts = np.stack([tp, 100 - tp, zero, zero], -1)
    counts[np.arange(len(ious)), np.arange(len(ious))] = 0
    return ClassPairs(1, np.arange(len(ious)), counts)


def test_a_support_is_judged_by_the_other_images():
    means = pair_results.support_means(pairs_of([[0, 0.9, 0.7], [0.1, 0, 0.3], [0.5, 0.5, 0]]))
    np.testing.assert_allclose(means, [0.8, 0.2, 0.5])


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_sampled_lists_scatter_around_the_expected_score(metric):
    rng = np.random.default_rng(0)
    pairs = [pairs_of(rng.uniform(0.2, 0.9, (8, 8))) for _ in range(3)]
    expected = exhaustive.expected_miou(pairs, metric)
    few = exhaustive.sampled_spread(pairs, 60, metric=metric)
    many = exhaustive.sampled_spread(pairs, 600, metric=metric)
    assert few[0] < many[0] < expected < many[1] < few[1]


def test_a_model_whose_answers_depend_on_the_batch_is_refused(workdir):
    run = open_run(workdir)
    run.config.model.batch_norm = "batch"
    with pytest.raises(ValueError, match="depends on the other images"):
        pair_results.check(run)
