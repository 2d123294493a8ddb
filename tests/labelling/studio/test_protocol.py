"""The backend of Label Studio against requests as it sends them. No Label Studio here: `make
studio-test` starts the real one."""

import numpy as np
import pytest
import studio_desk
from PIL import Image
from studio_desk import CONFIG, PROJECT, Reddish, annotation, decoded, task, told

from fss_jax.labelling import supports
from fss_jax.labelling.studio import control
from fss_jax.scoring.calibration import Calibration


def test_annotations_become_supports_and_the_rest_gets_masks_with_scores(desk):
    assert desk.ask("/health")[1]["status"] == "UP"
    status, first = desk.setup()
    assert status == 200
    assert desk.predict(task(5)) == [[]]  # nothing was shown yet
    for i in range(2):
        assert desk.ask("/webhook", told(
            "ANNOTATION_CREATED", task=task(i), annotation=annotation(10 + i, desk.masks[i])
        ))[0] == 200  # fmt: skip
    second = desk.setup()[1]
    assert second != first  # so that Label Studio asks again
    found = desk.predict(task(4), task(5))
    for i, prediction in zip((4, 5), found, strict=True):
        np.testing.assert_array_equal(decoded(prediction), desk.masks[i])
        inside, outside = 0.9 * 99, 0.1 * (600 - 99)  # of its probabilities
        assert prediction["score"] == pytest.approx(inside / (99 + outside), abs=1e-3)
        assert prediction["model_version"] == second["model_version"]
    # The same folder is what `fss label --support` reads.
    (place,) = (desk.backend.folder).glob("project_*")
    shown_images, shown_masks = supports.read(place)["cat"]
    assert [p.name for p in shown_images] == ["0.png", "1.png"]
    np.testing.assert_array_equal(shown_masks[1], desk.masks[1])


def test_the_score_is_the_expected_iou_where_the_model_was_calibrated(desk, monkeypatch):
    class Known(Calibration):
        def __init__(self):
            pass

        def expected_iou(self, confidence, shots):
            return 0.25

    monkeypatch.setattr(studio_desk, "CALIBRATION", Known())
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0])))
    assert found["score"] == 0.25 == found["result"][0]["score"]


def test_corrected_and_deleted_annotations(desk):
    def change(action, **more):
        assert desk.ask("/webhook", told(action, **more))[0] == 200
        return desk.setup()[1]["model_version"]

    empty = desk.setup()[1]["model_version"]
    one = change("ANNOTATION_CREATED", task=task(0), annotation=annotation(1, desk.masks[0]))
    other = change("ANNOTATION_UPDATED", task=task(0), annotation=annotation(1, desk.masks[1]))
    assert len({empty, one, other}) == 3
    assert (
        change("ANNOTATION_UPDATED", task=task(0), annotation=annotation(1, desk.masks[0])) == one
    )
    skipped = annotation(2, desk.masks[1], was_cancelled=True)
    assert change("ANNOTATION_CREATED", task=task(1), annotation=skipped) == one
    for action in ("START_TRAINING", "TASKS_CREATED", "LABEL_LINK_CREATED", "anything"):
        assert change(action, tasks=[{"id": 0}]) == one
    assert change("ANNOTATIONS_DELETED", annotations=[{"id": 1}]) == empty
    many = [task(0), task(1)], [annotation(1, desk.masks[0]), annotation(2, desk.masks[1])]
    both = change("ANNOTATIONS_CREATED", task=many[0], annotation=many[1])
    assert change("TASKS_DELETED", tasks=[{"id": 1}]) == one != both
    assert desk.predict(task(5))[0]["result"]
    # A task that names another image now: the stored one goes.
    moved = {**task(0, 3), "annotations": []}
    change("ANNOTATION_UPDATED", task=moved, annotation=annotation(1, desk.masks[3]))
    desk.predict(task(5))
    (stored,) = desk.backend.folder.rglob("0.png")
    np.testing.assert_array_equal(np.asarray(Image.open(stored))[..., 0] > 200, desk.masks[3])


def test_polygons_where_the_project_has_no_brush_and_only_its_labels(desk):
    config = CONFIG.replace("BrushLabels", "PolygonLabels").replace('<Label value="cat"/>', "")
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0])), config=config)
    assert found["result"] == [] and found["score"] == 0
    (found,) = desk.predict(task(0, None, annotation(1, desk.masks[0], "dog")), config=config)
    (region,) = found["result"]
    assert region["type"] == "polygonlabels" and region["value"]["polygonlabels"] == ["dog"]
    xs, ys = np.array(region["value"]["points"]).T
    rows, columns = np.nonzero(desk.masks[0])
    assert (xs.min() * 30 / 100, ys.max() * 20 / 100) == (columns.min(), rows.max() + 1)


def test_one_odd_task_stops_nothing(desk, tmp_path):
    (tmp_path / "media" / "upload" / "7" / "bad.png").write_bytes(b"no picture")
    odd = [
        {"id": 9, "data": {"text": "x"}, "annotations": [annotation(9, desk.masks[0])]},
        None,
        3,
        {},
        {"id": 1},
        {"id": 2, "data": {}},
        {"id": 3, "data": {"photo": 7}},
        task(8, "bad"),
    ]
    shown = task(0, None, annotation(1, desk.masks[0]), {"id": "x"}, None, {"id": 5, "result": 3})
    results = desk.predict(shown, *odd, task(5))
    assert results[1:-1] == [[]] * len(odd)
    np.testing.assert_array_equal(decoded(results[-1]), desk.masks[5])


def test_what_is_not_done_in_time_is_left_for_the_next_call(desk):
    Reddish.wait, desk.backend.seconds = 0.2, 0.5
    try:
        shown = task(0, None, annotation(1, desk.masks[0]))
        results = desk.predict(shown, *(task(i % 6) for i in range(1, 12)))
    finally:
        Reddish.wait = 0.0
    done = [bool(result) for result in results]
    assert len(results) == 12 and done[0] and not done[-1] and done == sorted(done, reverse=True)


BAD = ("", None, "<View/>", "<View", 5, "<!DOCTYPE a [<!ENTITY b 'c'>]>" + CONFIG, "x" * 2**21)


@pytest.mark.parametrize("config", [*BAD, CONFIG.replace("$photo", "http://x/y.png")])
def test_a_configuration_that_does_not_fit_is_told(desk, config):
    status, said = desk.ask("/setup", {"project": PROJECT, "schema": config})
    assert status == 400 and "configuration" in said["error"] and "\n" not in said["error"]


def test_a_comment_in_a_configuration_is_none_of_ours():
    assert (
        control.read(CONFIG.replace("<View>", "<View><!-- a --><Header value='b'/>")).key == "photo"
    )
