"""Expected IoU: curves that rise and average right, kept with the checkpoint, used by labelling."""

import csv
import json
import shutil

import numpy as np
import pytest
import toy_pictures
from sklearn.isotonic import IsotonicRegression

from fss_jax import cli
from fss_jax.scoring import calibration
from fss_jax.scoring.calibration import Calibration, Curve
from fss_jax.studies import calibrate


def overconfident(seed, count=400):
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.2, 1, count)
    return sure, np.clip(sure**2 - 0.1 + rng.normal(0, 0.1, count), 0, 1)


def test_a_curve_is_the_isotonic_regression_at_its_own_points():
    sure, ious = overconfident(0, 60)
    curve = Curve.fit(sure, ious)
    reference = IsotonicRegression().fit(sure, ious)
    np.testing.assert_allclose(
        np.interp(curve.confidences, sorted(sure), reference.predict(np.sort(sure))),
        curve.ious,
        atol=1e-6,
    )
    values = [curve(c) for c in np.linspace(0, 1, 50)]
    assert values == sorted(values) and 0 <= values[0] and values[-1] <= 1


def test_calibrating_mends_the_error_on_images_it_did_not_see():
    curve = Curve.fit(*overconfident(1))
    sure, ious = overconfident(2)
    raw = calibration.expected_calibration_error(sure, ious)
    mended = calibration.expected_calibration_error([curve(c) for c in sure], ious)
    assert raw > 0.15 and mended < 0.05


def test_the_error_is_zero_for_a_perfect_expectation_and_one_for_the_worst():
    assert calibration.expected_calibration_error([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]) == 0
    assert calibration.expected_calibration_error([1.0, 1.0], [0.0, 0.0]) == 1
    rows = calibration.reliability([0.01, 0.05, 0.95], [0.2, 0.4, 1.0])
    np.testing.assert_allclose(rows, [(0.03, 0.3, 2), (0.95, 1.0, 1)])


def test_pixels_that_do_not_count_change_no_confidence():
    rng = np.random.default_rng(0)
    probability = rng.random((8, 8)).astype(np.float32)
    valid = np.ones((8, 8), bool)
    valid[5:] = False
    whole = calibration.confidence(probability > 0.5, probability, valid)
    cut = calibration.confidence(probability[:5] > 0.5, probability[:5])
    assert whole == pytest.approx(cut) and 0 < whole < 1
    assert calibration.confidence(np.zeros((8, 8), bool), probability) == 0


def test_more_supports_use_the_curve_of_the_next_fewer():
    flat = {k: Curve((0.0, 1.0), (k / 10, k / 10)) for k in (1, 5)}
    found = Calibration(0, flat)
    assert [found.expected_iou(0.5, k) for k in (1, 4, 5, 50)] == [0.1, 0.1, 0.5, 0.5]
    assert Calibration(0, {5: flat[5]}).expected_iou(0.5, 1) == 0.5


@pytest.fixture(scope="module")
def calibrated(toy_workdir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(toy_workdir, workdir)
    result = calibrate.calibrate(workdir, episodes=12)
    return workdir, result


@pytest.mark.slow
def test_the_command_keeps_curves_beside_the_checkpoint_and_reports_the_test_classes(calibrated):
    workdir, result = calibrated
    kept = calibration.load(workdir / "calibration.json")
    assert list(kept.curves) == [1, 5]
    written = json.loads((workdir / "results" / "calibration.json").read_text())
    assert written["split"] == "test" and written["shots"] == json.loads(
        json.dumps(result["shots"])
    )
    row = written["shots"]["1"]
    assert row["images"] == 12 and 0 <= row["ece_calibrated"] <= 1
    assert sum(n for _, _, n in row["reliability_raw"]) == 12
    assert "ECE calibrated" in (workdir / "results" / "calibration.md").read_text()
    assert (workdir / "results" / "calibration.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_calibration_of_another_step_is_not_used(calibrated, tmp_path):
    path = calibrated[0] / "calibration.json"
    assert calibration.load(path, 0) is not None and calibration.load(path, 7) is None
    assert calibration.load(tmp_path / "calibration.json") is None
    (tmp_path / "calibration.json").write_text('{"curves": 1}')
    with pytest.raises(ValueError, match="damaged .* fss calibrate"):
        calibration.load(tmp_path / "calibration.json")


@pytest.mark.slow
def test_labels_tell_the_expected_iou_of_a_calibrated_checkpoint(calibrated, toy_workdir, tmp_path):
    workdir, _ = calibrated
    support = toy_pictures.write_support(tmp_path / "square")
    images = toy_pictures.write_images(tmp_path / "images", 2)
    curve = calibration.load(workdir / "calibration.json").curves[1]
    for place, known in ((workdir, True), (toy_workdir, False)):
        out = tmp_path / place.parent.name
        cli.main(
            [
                "label",
                f"--workdir={place}",
                f"--support={support}",
                f"--images={images}",
                f"--out={out}",
            ]
        )
        for row in csv.DictReader((out / "labels.csv").read_text().splitlines()):
            expected = f"{curve(float(row['confidence'])):.4f}" if known else ""
            assert row["expected_iou"] == expected
