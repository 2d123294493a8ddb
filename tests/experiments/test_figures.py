"""The figures' parts on a small workdir: they score, draw and say what they show."""

import pytest
import toy_run
from PIL import Image

from fss_jax.experiments.categories import SuperCategories
from fss_jax.experiments.fss_table1 import ImagesPerClass
from fss_jax.experiments.given_images import GivenImages
from fss_jax.experiments.runner import Scoring
from fss_jax.experiments.side_by_side import SideBySide

SETTINGS = {"dataset": "toy_squares", "protocol": "uniform", "episodes": 6, "trivial": False}


@pytest.mark.slow
def test_bars_pictures_and_sheets_of_a_workdir(tmp_path):
    workdir = toy_run.save(tmp_path)
    data, shared = workdir.parent / "data", workdir.parent
    lines = tuple(
        Scoring(f"{shots} shots", "x", workdir.name, None, {**SETTINGS, "shots": shots})
        for shots in (1, 2)
    )
    text = SuperCategories(lines, overlap=True).run("bars", data, shared)
    assert "| all classes |" in text and "overlap 0" in text
    assert len(list((shared / "scores").glob("*.json"))) == 2
    assert SideBySide(lines).run("bars", data, shared).startswith("![")
    sheet = GivenImages(workdir.name, "toy_squares", shots=2).run("sheet", data, shared)
    assert "images of toy_squares, blue" in sheet
    counted = ImagesPerClass(("toy_squares", "coco_20i/fold0")).run("counted", data, shared)
    assert "| toy_squares | 6 |" in counted and "Not prepared" in counted
    for name in ("bars.png", "bars_pictures.png", "sheet.png", "counted.png"):
        with Image.open(shared / name) as picture:
            assert min(picture.size) > 100, name
