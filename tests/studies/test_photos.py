"""The study of photographs: its draw, its scores, and the regressions on them."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image

from fss_jax import Segmenter
from fss_jax.methods.fitted import Fitted
from fss_jax.studies import photos, photos_baselines, photos_scores, reliability


def folder(tmp_path, classes=("a/one", "a/two", "b/three"), count=7):
    for name in classes:
        (tmp_path / name).mkdir(parents=True)
        for n in range(count):
            mask = np.zeros((20, 30), np.uint8)
            mask[5:15, 5 + n : 15 + n] = 255
            Image.fromarray(mask).save(tmp_path / name / f"{n}.png")
            Image.fromarray(np.stack([mask] * 3, -1)).save(tmp_path / name / f"{n}.jpg")
    return tmp_path


def test_classes_are_found_by_their_pairs(tmp_path):
    data = folder(tmp_path)
    (data / "a/one/0.jpg").unlink()
    found = photos.find(data)
    assert {name: len(of) for name, of in found.items()} == {"a/one": 6, "a/two": 7, "b/three": 7}
    with pytest.raises(ValueError, match="no SET/CLASS"):
        photos.find(data / "a")


def test_the_draw_is_fixed_and_its_queries_are_no_supports(tmp_path):
    of = photos.find(folder(tmp_path))["a/one"]
    one, asked_one = photos.draw("a/one", of, 1, 6, seed=0)
    five, asked_five = photos.draw("a/one", of, 5, 6, seed=0)
    assert one == five[:1] and asked_one == asked_five and len(asked_five) == 2
    assert not {p.name for p in five} & {p.name for p in asked_five}
    assert photos.draw("a/one", of, 5, 6, seed=0)[0] == five
    others = [photos.draw("a/one", of, 5, 6, seed=seed)[0] for seed in range(1, 5)]
    assert any(other != five for other in others)


def test_each_picture_is_left_out_once(tmp_path):
    of = photos.find(folder(tmp_path, count=3))["a/one"]
    names = [
        ([p.name for p in supports], [p.name for p in asked])
        for supports, asked in photos.draws("a/one", of, [5], 6, 0, leave_one_out=True)
    ]
    assert names == [(["1", "2"], ["0"]), (["0", "2"], ["1"]), (["0", "1"], ["2"])]


def test_a_class_with_too_few_pictures_is_left_out_there(tmp_path):
    of = photos.find(folder(tmp_path, count=3))["a/one"]
    assert [len(s) for s, _ in photos.draws("a/one", of, [5, 3, 2, 1], 6, 0)] == [2, 1]


def test_every_number_of_supports_is_asked_the_same(tmp_path):
    of = photos.find(folder(tmp_path))["a/one"]
    drawn = list(photos.draws("a/one", of, [6, 5, 1], 6, 0))
    assert [len(supports) for supports, _ in drawn] == [6, 5, 1]
    assert all(asked == drawn[0][1] and len(asked) == 1 for _, asked in drawn)
    assert list(photos.draws("a/one", of, [5, 1], 6, 0))[1] == photos.draw("a/one", of, 1, 6, 0)


def test_classes_with_few_pictures_are_left_out_of_what_is_compared():
    common = {"set": "s", "kind": "present", "share": 0.1, "found": 1.0}
    rows = [
        common | {"class": c, "shots": k, "iou": v, "boundary_iou": v}
        for c, k, v in (("x", 5, 0.5), ("x", 1, 0.25), ("y", 1, 0.75))
    ]
    found = photos_scores.tables(rows)
    assert found["iou"]["1"]["mean"] == 0.5
    assert {k: of["mean"] for k, of in found["common"].items()} == {"5": 0.5, "1": 0.25}
    assert "common" not in photos_scores.tables(rows[1:])


def test_sizes_absence_and_seconds_are_told():
    rows = [
        {"kind": "present", "share": share, "iou": iou, "found": found}
        for share, iou, found in (
            (0.01, 0.2, 0.0),
            (0.02, 0.5, 1.0),
            (0.03, 0.7, 1.0),
            (0.5, 1, 1.0),
        )
    ]
    rows += [{"kind": "far", "found": 0.0}, {"kind": "far", "found": 1.0}]
    assert photos_scores.by_size(rows) == {
        "below 2%": {"iou": 0.2, "pictures": 1},
        "2% to 5%": {"iou": 0.6, "pictures": 2},
        "above 20%": {"iou": 1.0, "pictures": 1},
    }
    assert photos_scores.said_absent(rows) == {"far": 0.5, "present": 0.25}
    timed = [{"mask_seconds": s, "fit_seconds": 9.0} for s in (3.0, 1.0, 2.0)]
    assert photos_scores.seconds(timed) == {"mask": 2.0, "fit": 9.0}


def test_scores_of_masks():
    truth = np.zeros((40, 40), bool)
    truth[10:30, 10:30] = True
    assert photos_scores.iou(truth, truth) == photos_scores.boundary_iou(truth, truth) == 1
    half = truth.copy()
    half[20:] = False
    assert photos_scores.iou(half, truth) == 0.5
    assert photos_scores.iou(~truth & truth, truth) == 0
    filled = truth.copy()
    filled[19:21, 19:21] = False  # a hole far from the outline
    assert photos_scores.boundary_iou(filled, truth) < photos_scores.iou(filled, truth)


def test_the_mean_is_over_pictures_then_classes_then_sets():
    rows = [
        {"set": s, "class": c, "kind": "present", "iou": v}
        for s, c, v in (("a", "x", 1.0), ("a", "x", 0.0), ("a", "y", 1.0), ("b", "z", 0.25))
    ]
    rows.append({"set": "b", "class": "z", "kind": "far"})
    assert photos_scores.mean(rows) == {"a": 0.75, "b": 0.25, "mean": 0.5}


def test_the_baselines_are_what_they_are_called(tmp_path):
    of = photos.find(folder(tmp_path))["a/one"]
    truth = of[0].mask()
    found = photos_baselines.masks(of[1:3], of[0], truth)
    assert found["everything object"].all()
    assert photos_scores.iou(found["color histogram"], truth) > 0.8  # white on black
    if photos_baselines.ORACLE in found:
        rows, cols = np.nonzero(found[photos_baselines.ORACLE] & ~truth)
        assert not len(rows)  # nothing outside the box


def test_the_sheets_show_the_best_and_the_worst_of_a_set(tmp_path):
    of = photos.find(folder(tmp_path))["a/one"]
    sheets = photos.Sheets()
    for score, photo in zip((0.2, 0.9, 0.5), of, strict=False):
        sheets.add(5, score, photo, photo.mask())
    sheets.write(tmp_path / "sheets")
    assert [p.name for p in (tmp_path / "sheets").iterdir()] == ["a_5.png"]


def test_the_regression_finds_the_weights_that_made_the_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    y = reliability.sigmoid(x @ [1.0, -2.0] + 0.5)
    found = reliability.fractional_logit(x, y, np.ones(len(y)), strength=1e-6)
    np.testing.assert_allclose(found, [1.0, -2.0, 0.5], atol=0.02)


def test_every_set_weighs_alike():
    sets = np.array(["a", "a", "a", "b"])
    weight = reliability.evenly(sets)
    assert weight[sets == "a"].sum() == pytest.approx(weight[sets == "b"].sum())


def test_a_set_is_judged_by_the_others():
    """Where sets contradict each other, what is learned from the others is wrong for each."""
    x = np.concatenate([np.linspace(-1, 1, 20)[:, None]] * 2)
    y = np.concatenate([reliability.sigmoid(4 * x[:20, 0]), reliability.sigmoid(-4 * x[:20, 0])])
    sets = np.repeat(["a", "b"], 20)
    answer = reliability.held_out(x, y, sets, np.ones(40))
    assert np.corrcoef(answer[:20], y[:20])[0, 1] < 0


@pytest.mark.slow  # compiles the backbone
def test_parts_are_left_out_on_the_same_features(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "ABLATION", {"ridge alone": {"heads": ("ridge",)}, "all": {}})
    engine = photos.Engine(Fitted(cell=16, **Fitted.toy), "pip:efficientnet_lite2", 64)
    data, wanted = folder(tmp_path, ("a/one",)), {"shots": [2], "queries": 2, "seed": 0}
    found = list(photos.rows(engine, data, **wanted, ablation=True))
    assert len(found) == 2 and all(row["beside"]["all"] == row["iou"] for row in found)
    assert [set(row["beside"]) for row in found] == [{"ridge alone", "all"}] * 2
    alone = list(photos.rows(engine.but(heads=("ridge",)), data, **wanted))
    assert [row["iou"] for row in alone] == [row["beside"]["ridge alone"] for row in found]


@pytest.mark.slow  # compiles the backbone
def test_a_trained_run_is_asked_the_same(tmp_path, toy_workdir):
    engine = photos.Engine(Fitted(cell=16, **Fitted.toy), "pip:efficientnet_lite2", 64)
    data = folder(tmp_path, ("a/one",))
    segmenter = Segmenter.from_checkpoint(toy_workdir)
    wanted = {"shots": [2], "queries": 2, "seed": 0, "trained": {"run": segmenter}}
    found = list(photos.rows(engine, data, **wanted))
    of = photos.find(data)["a/one"]
    supports, asked = photos.draw("a/one", of, 2, 2, 0)
    segmenter.set_support([p.image for p in supports], [p.mask() for p in supports])
    for row, photo in zip(found, asked, strict=True):
        mask = segmenter.predict(photo.image)[0].mask
        assert row["beside"] == {"run": photos_scores.iou(mask, photo.mask())}
    dot = np.zeros((20, 30), bool)
    dot[3, 3] = True
    Image.fromarray(dot).save(supports[0].folder / f"{supports[0].name}.png")
    assert [row["beside"]["run"] for row in photos.rows(engine, data, **wanted)] == [0, 0]


def test_rows_of_an_earlier_version_are_refused_by_name(tmp_path):
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"rows": [{"shots": 1, "confidence": 0.5, "peak": 1.0}]}))
    with pytest.raises(ValueError, match="lacks likely: an earlier version wrote it"):
        reliability.run(argparse.Namespace(found=found, out=None))
