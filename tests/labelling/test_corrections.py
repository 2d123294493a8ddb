"""Refining labels: what joins the support, what is labelled again, what is said of both."""

import csv
import types
from pathlib import Path

import numpy as np
import pytest
import toy_pictures
from PIL import Image

from data_builders.masks import read_mask
from fss_jax import Segmenter, cli
from fss_jax.labelling import corrections, supports, tiles
from fss_jax.labelling.corrections import Example


@pytest.fixture(autouse=True)
def both_signs(monkeypatch):
    """A fresh network's logits have one sign everywhere; masks shall have two values."""
    blend = tiles.blend

    def centered(maps, shape, tile):
        logits = blend(maps, shape, tile)
        return logits - np.median(logits)

    monkeypatch.setattr(tiles, "blend", centered)


@pytest.fixture
def place(tmp_path):
    toy_pictures.write_support(tmp_path / "square", 3)
    toy_pictures.write_images(tmp_path / "images", 4)
    return tmp_path


def command(toy_workdir, place, name="label"):
    cli.main(
        [name, f"--workdir={toy_workdir}", f"--support={place / 'square'}"]
        + [f"--images={place / 'images'}", f"--out={place / 'out'}", "--batch=2"]
    )


def ranking(place):
    lines = (place / "out/refine.csv").read_text().splitlines()
    return [row["image"] for row in csv.DictReader(lines)]


@pytest.mark.slow
def test_corrected_masks_join_the_support_and_the_others_are_labelled_again(
    toy_workdir, place, capsys
):
    command(toy_workdir, place)
    first = {path.name: path.read_bytes() for path in (place / "out/masks").iterdir()}
    command(toy_workdir, place, "correct")  # nothing corrected: masks stay, a ranking comes
    assert {p.name: p.read_bytes() for p in (place / "out/masks").iterdir()} == first
    ranked = ranking(place)
    assert sorted(ranked) == sorted(first)
    assert f"correct next: {', '.join(ranked)}" in capsys.readouterr().out

    _, truth = toy_pictures.square(101, 51, 69)
    Image.fromarray(truth).save(place / "out/masks/1.png")
    corrected = (place / "out/masks/1.png").read_bytes()
    command(toy_workdir, place, "correct")
    said = capsys.readouterr().out
    assert "square: 3 supports, 1 corrected masks; mean IoU" in said
    assert "3 images labelled again" in said
    assert (place / "out/masks/1.png").read_bytes() == corrected

    images, masks = supports.read(place / "square")["square"]
    segmenter = Segmenter.from_checkpoint(toy_workdir)
    segmenter.set_support([*images, place / "images/1.png"], [*masks, truth])
    for name in ("0.png", "2.png", "3.png"):
        expected = segmenter.predict(place / "images" / name)[0]
        mask = read_mask(place / "out/masks" / name)
        sure = np.abs(expected.probability - 0.5) > 1e-4
        np.testing.assert_array_equal(mask[sure], expected.mask[sure])
    ranked = ranking(place)
    assert sorted(ranked) == ["0.png", "2.png", "3.png"]


def test_refining_nothing_is_said_so(toy_workdir, place, capsys):
    with pytest.raises(SystemExit) as stop:
        command(toy_workdir, place, "correct")
    assert stop.value.code == 2 and "holds no labels yet" in capsys.readouterr().err


class Remembers(Segmenter):
    """Answers with the mask of whichever shown example has the highest number."""

    def __init__(self):
        pass

    def set_support(self, images, masks):
        self.shown = sorted(images)
        self.answer = masks[images.index(max(images))]

    def predict(self, image):
        assert image not in self.shown
        return [types.SimpleNamespace(mask=self.answer)]


def test_no_example_is_predicted_from_itself():
    masks = [np.zeros((2, 4), bool) for _ in range(4)]
    for i, mask in enumerate(masks):
        mask[:, : i + 1] = True
    some = [Example(Path(str(i)), mask, given=i < 2) for i, mask in enumerate(masks)]
    # Of all others the last one answers, or the one before it; of the given ones the second.
    after = corrections.left_out_iou(Remembers(), some, given_only=False)
    assert after == [1 / 4, 2 / 4, 3 / 4, 3 / 4]
    before = corrections.left_out_iou(Remembers(), some, given_only=True)
    assert before == [1 / 2, 1 / 2, 2 / 3, 2 / 4]
    assert corrections.left_out_iou(Remembers(), some[:1], given_only=False) == [None]


def test_suspects_stand_out_among_at_least_three():
    assert corrections.suspects([0.8, 0.9, 0.1, 0.85]) == [2]
    assert corrections.suspects([0.8, 0.1]) == corrections.suspects([0.5, 0.4, 0.45]) == []


def test_rank_puts_first_what_both_measures_doubt():
    assert corrections.rank([(0.1, 0.0), (0.9, 0.8), (0.5, 0.2)]) == [1, 2, 0]
    assert corrections.rank([]) == []


@pytest.mark.slow
def test_supports_that_are_the_same_do_not_disagree(toy_workdir, place):
    image, mask = place / "square/image/0.png", place / "square/label/0.png"
    segmenter = Segmenter.from_checkpoint(toy_workdir)
    twins = {"square": [Example(image, mask, True)] * 2}
    ((entropy, disagreement),) = corrections.uncertainty(segmenter, twins, [place / "images/0.png"])
    assert 0 <= entropy <= 1 and disagreement == 0
