"""Pictures of the support's effect: what is asked, and that it is drawn."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fss_jax.reports.drawing import TILE
from fss_jax.scoring import evaluation
from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies import conditioning


@pytest.mark.slow
def test_pictures_of_a_run(toy_workdir, tmp_path):
    run = dataclasses.replace(open_workdir(toy_workdir), workdir=tmp_path)
    result = conditioning.pictures(run, count=2)
    rows = result["rows"]
    assert json.loads((tmp_path / "results" / "conditioning.json").read_text()) == result
    for name, panels in {"classes": 5, "masks": 11}.items():
        assert [len(row) for row in rows[name]] == [panels, panels]
        with Image.open(tmp_path / "results" / f"conditioning_{name}.png") as picture:
            assert picture.width > panels * TILE and np.asarray(picture).std() > 10
    query, first, _, second, _ = rows["classes"][0]
    assert query == f"query: {first}" and first != second
    assert rows["masks"][0][1::2] == list(conditioning.CHANGES)


def test_changed_masks():
    mask = np.zeros((1, 1, 6, 8), np.float32)
    mask[0, 0, 1:4, 2:7] = 1
    mask[0, 0, 1, 2] = 0
    changed = {name: change(mask) for name, change in conditioning.CHANGES.items()}
    assert changed["its left half"].sum() == 8  # columns 2, 3, 4 without the corner
    assert changed["its box"].sum() == 15
    np.testing.assert_array_equal(changed["all but it"], mask == 0)
    assert changed["nothing"].sum() == 0 and changed["nothing"].shape == mask.shape
    assert conditioning.CHANGES["its left half"](0 * mask).sum() == 0


@pytest.mark.slow
def test_the_answer_is_the_evaluations(toy_workdir):
    """Five shots asked as one episode are what the model says of them."""
    run = open_workdir(toy_workdir)
    asker = conditioning.Asker(run)
    episode = asker.episode([0, 1, 2], 3)
    alike = jax.tree.map(jnp.asarray, episode)
    logits = evaluation.predict(run.model, run.variables, alike, run.view)
    np.testing.assert_array_equal(asker.mask(episode), np.asarray(logits[0, 0] > 0))
