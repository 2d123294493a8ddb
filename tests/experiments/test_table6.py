"""Table 6: both sides label the same images, are timed, and are counted right."""

import json

import numpy as np
import pytest

from fss_jax.experiments import fss_table6, toy
from fss_jax.experiments.fss_table6 import LabelTimes

pytest.importorskip("cv2")


def test_a_box_holds_its_object_and_leaves_background_outside():
    mask = np.zeros((50, 100), bool)
    mask[10:20, 30:60] = True
    left, top, width, height = fss_table6._box(mask)
    inside = np.zeros_like(mask)
    inside[top : top + height, left : left + width] = True
    assert not (mask & ~inside).any() and 300 < inside.sum() < 500
    left, top, width, height = fss_table6._box(np.ones((50, 100), bool))
    assert (left, top) == (1, 1) and (left + width, top + height) == (99, 49)


@pytest.mark.slow
def test_both_label_the_same_images(toy_workdir, tmp_path):
    part = LabelTimes("run", "toy_squares", shots=1, images=4)
    (tmp_path / "run").symlink_to(toy_workdir)
    data = toy_workdir.parent / "data"
    text = part.run("table", data, tmp_path)
    kept = json.loads((tmp_path / "table_times.json").read_text())
    (known,) = kept["devices"].values()  # a run on another device would add its own
    assert {kind: len(ious) for kind, ious in known["ious"].items()} == {"ours": 4, "grabcut": 4}
    assert min(known["seconds"].values()) > 0
    # GrabCut finds a lone square of one color on gray; a fresh network finds nothing in particular.
    assert max(known["ious"]["grabcut"]) > 0.9 > max(known["ious"]["ours"])
    assert np.mean(known["ious"]["grabcut"]) > np.mean(known["ious"]["ours"])
    assert "58.4" in text and "| 4 |" in text
    (tmp_path / "run").unlink()
    assert part.run("table", data, tmp_path) == text  # measured once, shown again
    with pytest.raises(ValueError, match="expected 5000"):
        LabelTimes("", "toy_squares", images=5000).run("other", data, tmp_path)


def test_the_toy_run_is_small():
    for experiment in (fss_table6.EXPERIMENT, fss_table6.SMALL):
        (part,) = toy.shrink(experiment).parts
        assert part.dataset == toy.DATASET and part.images < 10
