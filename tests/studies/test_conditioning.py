"""Pictures of the support's effect: what is asked, and that it is drawn."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fss_jax.configs import base
from fss_jax.data.bank import Bank
from fss_jax.data.datasets import Split
from fss_jax.reports.drawing import TILE
from fss_jax.scoring import evaluation, protocols
from fss_jax.scoring.workdir import Opened, open_workdir
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


@pytest.mark.slow
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


class Bright(nn.Module):
    """Finds what is bright, whatever the support shows."""

    def __call__(self, support_image, support_mask, query_image):
        return query_image[..., 0] - 180.0


@pytest.mark.parametrize("query_size, score_size", [(8, 0), (0, 0), (8, 20), (8, 8)])
def test_masks_lie_over_what_they_mark(monkeypatch, tmp_path, query_size, score_size):
    """Of a wide image on a square canvas, whatever size is seen and scored."""
    images = np.full((2, 16, 16, 3), 100, np.uint8)
    labels = np.zeros((2, 16, 16), np.uint8)
    images[:, 2:6, 8:14], labels[:, 2:6, 8:14] = 255, 1  # of 8 x 16 pixels
    sizes, number = np.asarray([[8, 16]] * 2, np.int32), np.arange(2, dtype=np.int32)
    bank = Bank(images, labels, sizes, number, np.ones(2, np.int32))
    monkeypatch.setattr(conditioning.banks, "load_bank", lambda *_: bank)
    data = Split(
        "wide", ("", "it"), ("a", "b"), number, (("a", 1), ("b", 1)),
        item_image=number, item_value=bank.item_value, item_area=number, item_lattice_hits=number,
        source=(),
    )  # fmt: skip
    config = base.get_config()
    config.update({"canvas": 16, "support_size": 8, "query_size": query_size})
    config.model.preprocessing = "caffe"
    protocol = dataclasses.replace(protocols.get("uniform"), score_size=score_size)
    opened = Opened(tmp_path, 0, config, protocol, "wide", "test", data, Bright(), {})
    asker = conditioning.Asker(opened)
    (row,) = conditioning.other_masks(asker, np.random.default_rng(0), 1)
    for panel in (row[0], row[2]):  # the truth and an answer
        shape = panel.image.shape[:2]
        mask = Image.fromarray(panel.mask).resize(shape[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(np.asarray(mask), panel.image[..., 0] > 180)


@pytest.mark.slow
def test_the_answer_is_the_evaluations(toy_workdir):
    """Five shots asked as one episode are what the model says of them."""
    run = open_workdir(toy_workdir)
    asker = conditioning.Asker(run)
    episode = asker.episode([0, 1, 2], 3)
    alike = jax.tree.map(jnp.asarray, episode)
    logits = evaluation.predict(run.model, run.variables, alike, run.view)
    np.testing.assert_array_equal(asker.mask(episode), np.asarray(logits[0, 0] > 0))
