"""Counting a method: against a loop over episodes, on any devices, whatever pads the last batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_pixels
import toy

from fss_jax.data import bank as banks
from fss_jax.data import imaging
from fss_jax.runtime.devices import replicate
from fss_jax.scoring import evaluation, protocols, trivial
from fss_jax.scoring.evaluation import Evaluator
from fss_jax.scoring.workdir import open_workdir

COUNT = 14  # not a multiple of the 4 episodes a call


@pytest.fixture(scope="module")
def run(toy_workdir):
    return open_workdir(toy_workdir, protocol="uniform")


@pytest.fixture(scope="module")
def records(run):
    return run.protocol.records(run.data, 1)[:COUNT]


@pytest.fixture(scope="module")
def bank(run):
    return banks.load_bank(run.data, run.config.canvas)


def evaluator(run, devices=1, **fields):
    fields = {"batch": 4, "with_trivial": False} | fields
    return Evaluator(run.model, run.view, jax.devices()[:devices], **fields)


@pytest.fixture(scope="module")
def count(run, bank):
    """Counts of records, of the method and every trivial predictor; compiled once."""
    one = evaluator(run, with_trivial=True)
    variables, resident = (replicate(tree, one.devices) for tree in (run.variables, bank))
    return lambda records: one.counts(variables, resident, records)


@pytest.fixture(scope="module")
def counts(count, records):
    return count(records)


def by_loop(prediction, label, value):
    """tp, fp, fn, tn over the pixels of an image's true size that are not void."""
    cells = [0, 0, 0, 0]
    for p, pixel in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True):
        if pixel != imaging.VOID:
            cells[{(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[p, pixel == value]] += 1
    return cells


def truth(run, item):
    """An item's image, label map, and the value of its class there."""
    image, label = run.data.read(int(run.data.item_image[item]))
    return image, label, toy.VALUE + run.data.items[item][1]


@pytest.mark.slow
def test_counts_are_those_of_a_loop_over_the_predictions(run, bank, records, counts):
    _, logits = evaluator(run).show(run.variables, bank, records)
    assert counts["method"].dtype == np.int64
    assert counts["method"].shape == (COUNT, 1, 4)
    for n in range(COUNT):
        _, label, value = truth(run, records.query[n, 0])
        prediction = logits[n, 0, : label.shape[0], : label.shape[1]] > 0
        assert counts["method"][n, 0].tolist() == by_loop(prediction, label, value)


def test_predictions_are_those_of_a_plain_pipeline(run, records, counts):
    """Pillow's pixels, SciPy's warps, the model alone: equal but for a pixel on the threshold."""
    apply = jax.jit(run.model.apply)
    fill, predicted = run.view.fill, 0
    for n in range(COUNT):
        image, label, value = truth(run, records.support[n, 0])
        support = reference_pixels.resize(image, 16, fill)[None, None]
        mask = (reference_pixels.resize_label(label, 16) == value)[None, None]
        image, label, value = truth(run, records.query[n, 0])
        query = reference_pixels.resize(image, 16, fill)[None, None]
        episode = (jnp.asarray(x, jnp.float32) for x in (support, mask, query))
        logits = np.asarray(apply(run.variables, *episode))[0, 0]
        prediction = reference_pixels.stretch(logits, label.shape) > 0
        expected = np.asarray(by_loop(prediction, label, value))
        assert np.abs(counts["method"][n, 0] - expected).max() <= 1
        predicted += expected[:2].sum()
    assert 0.02 < predicted / counts["method"].sum() < 0.98  # neither everything nor nothing


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_any_number_of_devices_counts_the_same(run, bank, records, counts, devices):
    many = evaluator(run, devices)
    found = many.counts(*(replicate(t, many.devices) for t in (run.variables, bank)), records)
    np.testing.assert_array_equal(found["method"], counts["method"])


def test_what_pads_the_last_batch_changes_nothing(count, records, counts):
    for number in (1, 5, 13):
        for name, found in count(records[:number]).items():
            np.testing.assert_array_equal(found, counts[name][:number])


def test_all_object_is_every_pixel_that_counts(run, records, counts):
    for n in range(COUNT):
        _, label, value = truth(run, records.query[n, 0])
        area = int((label == value).sum())
        assert counts["all_object"][n, 0].tolist() == [
            area,
            int((label != imaging.VOID).sum()) - area,
            0,
            0,
        ]


def test_the_wrong_support_is_the_method_with_another_class_s_support(count, records, counts):
    wrong = dataclasses.replace(records, support=trivial.wrong_supports(records))
    np.testing.assert_array_equal(count(wrong)["method"], counts["wrong_support"])
    assert (counts["wrong_support"] != counts["method"]).any()


def test_the_zeroed_support_tells_the_network_nothing(run, count, records, counts):
    """The prediction for a query is one whatever its support; the method's own is not."""
    rolled = dataclasses.replace(records, support=np.roll(records.support, 1, 0))
    other = count(rolled)
    np.testing.assert_array_equal(other["support_zeroed"], counts["support_zeroed"])
    assert (other["method"] != counts["method"]).any()
    np.testing.assert_array_equal(other["all_object"], counts["all_object"])


def test_every_count_adds_up_to_the_pixels_that_count(run, records, counts):
    assert set(counts) == {"method", *trivial.NAMES}
    for name in counts:
        for n in range(COUNT):
            _, label, value = truth(run, records.query[n, 0])
            tp, fp, fn, tn = counts[name][n, 0].tolist()
            assert tp + fn == (label == value).sum()
            assert fp + tn == ((label != value) & (label != imaging.VOID)).sum()


def test_a_config_without_a_query_size_sees_what_the_protocol_scores(run):
    config = run.config.copy_and_resolve_references()
    for query_size, protocol, sees in [(0, "oslsm_release", 500), (16, "oslsm_release", 16),
                                       (0, "uniform", 0), (16, "oslsm_paper", 16)]:  # fmt: skip
        config.query_size = query_size
        chosen = protocols.get(protocol)
        view = chosen.view(config)
        assert view.query_size == sees
        assert view.score_size == chosen.score_size
        assert (view.void, view.canvas) == (chosen.void, 40)


@pytest.mark.slow
def test_logits_reach_the_size_that_is_scored(run):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 16, 16)), jnp.float32)
    size = jnp.asarray([[[36, 40]]])
    whole = dataclasses.replace(run.view, score_size=50).to_score(logits, size)
    expected = reference_pixels.stretch(np.asarray(logits)[0, 0], (50, 50))
    np.testing.assert_allclose(whole[0, 0], expected, atol=1e-5)
    true = dataclasses.replace(run.view, score_size=0).to_score(logits, size)
    expected = reference_pixels.stretch(np.asarray(logits)[0, 0], (36, 40))
    np.testing.assert_allclose(true[0, 0, :36, :40], expected, atol=1e-5)
    assert dataclasses.replace(run.view, score_size=16).to_score(logits, size) is logits


def test_flat_counts_go_with_their_classes_and_images(run):
    records = dataclasses.replace(protocols.get("uniform"), queries=2).records(run.data, 1)[:3]
    counts = np.arange(24).reshape(3, 2, 4)
    flat, class_id, image = evaluation.flat_counts(counts, records, run.data.item_image)
    for n in range(3):
        for q in range(2):
            row = 2 * n + q
            assert flat[row].tolist() == counts[n, q].tolist()
            item = run.data.items[records.query[n, q]]
            assert (run.data.image_ids[image[row]], class_id[row]) == item
