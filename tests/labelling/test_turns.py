"""A person corrects while a prediction runs: whatever the order, the correction stays."""

import csv
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders.masks import read_mask
from fss_jax import Segmenter
from fss_jax.labelling import manifest
from fss_jax.labelling.labels import CORRECTED, Labels
from fss_jax.labelling.manifest import Manifest
from fss_jax.labelling.prediction import Prediction
from fss_jax.labelling.workbench import Workbench

COUNT = 20
LAST = f"{COUNT - 1:02}.png"

# Another process, as a second page or a script would do it; no model is needed to correct.
CORRECTS = """
import sys, types
from pathlib import Path
import numpy as np
from fss_jax.labelling.workbench import Workbench
bench = Workbench(types.SimpleNamespace(classes=()), Path(sys.argv[1]))
mask = np.zeros(bench.mask(sys.argv[2]).shape, bool)
mask[3:9, 4:11] = True
bench.correct(sys.argv[2], mask)
"""


class Slow(Segmenter):
    """Stops before it hands out the last prediction until it is told to go on."""

    def stream(self, images):
        for index, found in enumerate(super().stream(images)):
            if index == COUNT - 1:
                self.reached.set()
                assert self.go_on.wait(120)
            yield found


@pytest.fixture
def bench(toy_workdir, tmp_path):
    """20 labelled images, and a new example that makes a prediction label all of them again."""
    segmenter = Slow.from_checkpoint(toy_workdir, batch=4)
    segmenter.reached, segmenter.go_on = threading.Event(), threading.Event()
    bench = Workbench(segmenter, tmp_path / "bench")
    for seed in range(COUNT):
        Image.fromarray(toy_pictures.square(seed)[0]).save(bench.folder / f"images/{seed:02}.png")
    bench.add_example(*toy_pictures.square(100))
    segmenter.go_on.set()
    assert bench.predict() == COUNT
    segmenter.reached.clear()
    segmenter.go_on.clear()
    bench.add_example(*toy_pictures.square(101))
    return bench


def corrected():
    mask = np.zeros(toy_pictures.square(0)[1].shape, bool)
    mask[3:9, 4:11] = True
    return mask


def from_a_thread(bench):
    errors = []

    def correct():
        try:
            Workbench(bench.segmenter, bench.folder).correct(LAST, corrected())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=correct)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and not errors  # it did not wait for the whole prediction


def from_a_process(bench):
    subprocess.run(
        [sys.executable, "-c", CORRECTS, str(bench.folder), LAST], check=True, timeout=120
    )


def by_an_editor(bench):
    """Any program that saves a picture over the mask, without our lock."""
    Image.fromarray(corrected()).save(bench.folder / "labels" / "masks" / LAST)


@pytest.mark.slow
@pytest.mark.parametrize(
    "correct",
    [
        from_a_thread,
        *(pytest.param(by, marks=pytest.mark.slow) for by in (from_a_process, by_an_editor)),
    ],
)
def test_a_correction_made_while_a_prediction_runs_survives_it(bench, correct):
    count = []
    worker = threading.Thread(target=lambda: count.append(bench.predict()))
    worker.start()
    assert bench.segmenter.reached.wait(120)
    correct(bench)
    bench.segmenter.go_on.set()
    worker.join(120)
    assert count == [COUNT]
    np.testing.assert_array_equal(bench.mask(LAST), corrected())
    table = csv.DictReader((bench.folder / "labels/labels.csv").read_text().splitlines())
    notes = {row["image"]: row["note"] for row in table}
    assert notes.pop(LAST) == CORRECTED and set(notes.values()) == {""}
    bench.add_example(*toy_pictures.square(102))
    bench.segmenter.go_on.set()
    assert bench.predict() == COUNT - 1  # nor does the next prediction touch it
    np.testing.assert_array_equal(bench.mask(LAST), corrected())


def folder(tmp_path, names=("a.png", "b.png")):
    for name in names:
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(toy_pictures.square(0)[0]).save(tmp_path / "images" / name)
    return Labels(Manifest(tmp_path / "out"), tmp_path / "images", names, ("object",))


def everything():
    """A prediction of all pixels."""
    mask = np.ones(toy_pictures.square(0)[1].shape, bool)
    return Prediction({"object": mask}, {"object": np.where(mask, np.float32(0.7), 0)})


def small():
    return toy_pictures.square(0)[0]


def test_a_mask_that_appears_before_its_prediction_is_kept_too(tmp_path):
    labels = folder(tmp_path)
    labels.manifest.start({"run": 1})
    mine = labels.mask_path("a.png", "object")
    mine.parent.mkdir(parents=True)
    Image.fromarray(corrected()).save(mine)
    assert not labels.write("a.png", everything(), small())
    assert labels.write("b.png", everything(), small())
    labels.summarize()
    np.testing.assert_array_equal(read_mask(mine), corrected())
    assert labels.corrected("a.png") and not labels.corrected("b.png")


def test_what_is_corrected_after_overwrite_began_stays(tmp_path):
    labels = folder(tmp_path)
    labels.manifest.start({"run": 1})
    for name in labels.names:
        labels.write(name, everything(), small())
        Image.fromarray(corrected()).save(labels.mask_path(name, "object"))
    again = folder(tmp_path)
    again.may_replace(again.names)  # what was corrected until now goes, as was asked for
    later = ~corrected()
    Image.fromarray(later).save(again.mask_path("b.png", "object"))
    assert again.write("a.png", everything(), small())
    assert not again.write("b.png", everything(), small())
    assert again.masks("a.png")["object"].all()
    np.testing.assert_array_equal(again.masks("b.png")["object"], later)


def test_a_correction_after_a_kill_in_mid_write_is_not_taken_for_half_a_file(tmp_path):
    labels = folder(tmp_path)
    path = labels.mask_path("a.png", "object")
    labels.manifest.begin({path: "what it was about to write"})
    path.parent.mkdir(parents=True)
    Image.fromarray(corrected()).save(path)  # by hand, after the kill
    again = folder(tmp_path)
    assert again.corrected("a.png") and not again.write("a.png", everything(), small())
    np.testing.assert_array_equal(read_mask(path), corrected())


def test_two_labellings_with_other_settings_do_not_mix(tmp_path):
    one, other = folder(tmp_path), folder(tmp_path)
    one.manifest.start({"run": 1})
    one.write("a.png", everything(), small())
    other.manifest.start({"run": 2})
    with pytest.raises(ValueError, match="another command with another model"):
        one.write("b.png", everything(), small())
    other.write("b.png", everything(), small())
    assert set(Manifest(tmp_path / "out").entries) == {"b.png"}


def test_a_reader_does_not_cut_a_line_that_is_being_written(tmp_path):
    log = tmp_path / manifest.NAME
    whole = json.dumps({"settings": {"run": 1}}) + "\n"
    log.write_text(whole + '{"writes": ["a')
    reader = Manifest(tmp_path)
    assert reader.settings == {"run": 1} and log.read_text().endswith('["a')
    reader.begin([tmp_path / "b"])  # nobody writes any more: the lock is ours
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == [{"settings": {"run": 1}}, {"writes": ["b"]}]
