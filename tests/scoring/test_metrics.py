"""Scores: counts by hand, pooling by loops, intervals by their laws."""

import numpy as np
import pytest

from fss_jax.scoring import metrics


def test_counts_of_masks_drawn_by_hand():
    truth = np.asarray([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    prediction = np.asarray([[1, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1]], bool)
    valid = np.asarray([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]], np.float32)
    counts = metrics.confusion(prediction, truth, valid)
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, [3, 2, 1, 5])  # the last pixel does not count
    assert metrics.iou(np.asarray(counts)) == 3 / 6
    assert metrics.fb_iou(np.asarray(counts)) == (3 / 6 + 5 / 8) / 2


def test_counts_keep_leading_axes_and_agree_with_a_loop():
    rng = np.random.default_rng(0)
    prediction = rng.random((2, 3, 5, 7)) < 0.5
    truth, valid = (rng.random((2, 2, 3, 5, 7)) < 0.6).astype(np.float32)
    counts = np.asarray(metrics.confusion(prediction, truth, valid))
    for b in range(2):
        for q in range(3):
            expected = [0, 0, 0, 0]
            for p, t, v in zip(
                prediction[b, q].ravel(), truth[b, q].ravel(), valid[b, q].ravel(), strict=True
            ):
                if v:
                    expected[{(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[int(p), int(t)]] += 1
            assert counts[b, q].tolist() == expected


def test_an_empty_union_scores_zero():
    assert metrics.iou(np.asarray([0, 0, 0, 9])) == 0
    assert metrics.iou(np.zeros((2, 4), int)).tolist() == [0, 0]


def episodes(n, classes=3, images=None, seed=0):
    """Counts of n episodes whose quality differs by episode and class; each has its own image."""
    rng = np.random.default_rng(seed)
    class_id = rng.integers(1, classes + 1, n) * 10
    size = rng.integers(50, 200, n)
    tp = (size * rng.beta(2 + class_id / 10, 3, n)).astype(int)
    counts = np.stack([tp, rng.integers(0, 60, n), size - tp, np.full(n, 900)], 1)
    return counts, class_id, np.arange(n) if images is None else rng.integers(0, images, n)


def test_miou_is_the_mean_over_classes_of_pooled_iou():
    counts, class_id, image = episodes(60)
    score = metrics.score(counts, class_id, image)
    pooled, expected = np.zeros(4, int), []
    for c in (10, 20, 30):
        tp = fp = fn = 0
        for row in counts[class_id == c].tolist():
            tp, fp, fn = tp + row[0], fp + row[1], fn + row[2]
            pooled += row
        expected.append(tp / (tp + fp + fn))
    assert score.class_ids.tolist() == [10, 20, 30]
    np.testing.assert_allclose(score.class_iou, expected, rtol=1e-12)
    assert score.miou == pytest.approx(sum(expected) / 3, rel=1e-12)
    tp, fp, fn, tn = pooled.tolist()
    assert score.fb_iou == pytest.approx((tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2)
    assert score.episodes.tolist() == [(class_id == c).sum() for c in (10, 20, 30)]


def test_per_image_averages_iou_over_images_then_classes():
    counts, class_id, image = episodes(60)
    score = metrics.score(counts, class_id, image, "per_image")
    expected = [
        np.mean([tp / (tp + fp + fn) for tp, fp, fn, _ in counts[class_id == c].tolist()])
        for c in (10, 20, 30)
    ]
    np.testing.assert_allclose(score.class_iou, expected, rtol=1e-12)
    assert score.miou == pytest.approx(np.mean(expected))
    assert score.miou != pytest.approx(metrics.score(counts, class_id, image).miou)
    with pytest.raises(ValueError, match="unknown metric 'pixel'"):
        metrics.score(counts, class_id, image, "pixel")


def test_sums_are_exact_beyond_32_bits():
    big = 2**31 - 1
    counts = np.asarray([[big, 3, 5, big]] * 9, np.int32)
    score = metrics.score(counts, np.ones(9, int), np.arange(9))
    assert score.counts.tolist() == [[9 * big, 27, 45, 9 * big]]
    assert score.miou == pytest.approx(big / (big + 8), rel=1e-15)


def width(interval):
    return interval[1] - interval[0]


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_intervals_hold_the_estimate_and_shrink_with_the_root_of_n(metric):
    small, large = (metrics.score(*episodes(n), metric) for n in (200, 3200))
    for score in (small, large):
        assert score.miou_ci95[0] < score.miou < score.miou_ci95[1]
        assert score.fb_iou_ci95[0] < score.fb_iou < score.fb_iou_ci95[1]
        assert (score.class_ci95[:, 0] < score.class_iou).all()
        assert (score.class_iou < score.class_ci95[:, 1]).all()
    assert width(small.miou_ci95) / width(large.miou_ci95) == pytest.approx(4, rel=0.25)
    assert width(small.fb_iou_ci95) / width(large.fb_iou_ci95) == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_intervals_stay_within_what_an_iou_can_be(metric):
    # A third of the draws have nothing but misses: less the bias, that is below nothing.
    counts = np.array([[0, 0, 200, 800]] * 9 + [[5, 0, 0, 995]])
    scores = metrics.score(counts, np.zeros(10, int), np.arange(10), metric)
    for low, high in (*scores.class_ci95, scores.miou_ci95, scores.fb_iou_ci95):
        assert 0 <= low <= high <= 1


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    counts, class_id, _ = episodes(100_000, seed=99)
    truth = np.mean([metrics.iou(counts[class_id == c].sum(0)) for c in (10, 20, 30)])
    hits = 0
    for seed in range(40):
        low, high = metrics.score(*episodes(120, seed=seed)).miou_ci95
        hits += low <= truth <= high
    assert hits >= 33  # 38 expected, with a deviation of 1.4


def test_repeating_an_image_s_episodes_does_not_sharpen_the_interval():
    counts, class_id, image = episodes(300)
    four = np.repeat(counts, 4, 0), np.repeat(class_id, 4)
    once = metrics.score(counts, class_id, image)
    same_images = metrics.score(*four, np.repeat(image, 4))
    as_if_new = metrics.score(*four, np.arange(1200))
    assert same_images.miou == pytest.approx(once.miou)
    assert width(same_images.miou_ci95) == pytest.approx(width(once.miou_ci95), rel=0.02)
    assert width(as_if_new.miou_ci95) == pytest.approx(width(once.miou_ci95) / 2, rel=0.2)


def test_one_class_and_one_image_still_score():
    score = metrics.score(np.asarray([[4, 1, 1, 10]]), np.asarray([5]), np.asarray([0]))
    assert score.miou == pytest.approx(4 / 6)
    assert score.miou_ci95 == pytest.approx((4 / 6, 4 / 6))


def test_a_score_over_runs_is_the_mean_of_the_runs():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 50, (40, 4))
    class_id, image, run = rng.integers(1, 4, 40), rng.integers(0, 9, 40), np.repeat([0, 1], 20)
    class_id[20:][class_id[20:] == 3] = 1  # the second run lacks a class
    both = metrics.score(counts, class_id, image, run=run)
    first, second = (
        metrics.score(counts[run == r], class_id[run == r], image[run == r]) for r in (0, 1)
    )
    expected = [(a + b) / 2 for a, b in zip(first.class_iou[:2], second.class_iou, strict=True)]
    np.testing.assert_allclose(both.class_iou, [*expected, first.class_iou[2]])
    assert both.fb_iou == pytest.approx((first.fb_iou + second.fb_iou) / 2)
    assert both.miou_ci95[0] < both.miou < both.miou_ci95[1]
    np.testing.assert_array_equal(both.counts[:2], first.counts[:2] + second.counts)
