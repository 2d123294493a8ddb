"""Growing a support by its worst answers: which images are taken, and what is compared."""

import json

import numpy as np
import pytest
import toy_run

from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies import growing_support


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_workdir(toy_run.save(tmp_path_factory.mktemp("refine")), protocol="uniform")


def stand_in(monkeypatch, ious):
    """Answers of known quality instead of the network's: each row of `ious` is a round's."""
    rounds = iter(ious)

    def segment(run, evaluator, bank, support, members):
        logits = np.ones((len(members), 40, 40))
        return growing_support.Round(support, np.asarray(next(rounds)), logits)

    monkeypatch.setattr(growing_support, "_segment", segment)


IOUS = [
    [1.0, 0.5, 0.1, 0.4, 0.6, 0.8],  # the worst that is no support: image 2
    [1.0, 0.5, 0.9, 0.7, 0.3, 0.8],  # 4
    [1.0, 0.6, 0.9, 0.7, 0.9, 1.0],
]


@pytest.mark.parametrize("replace,last", [(False, [0, 2, 4]), (True, [4])])
def test_the_worst_answers_become_support_and_are_not_scored(run, monkeypatch, replace, last):
    stand_in(monkeypatch, IOUS)
    result, history = growing_support.refine(run, "red", 2, 1, replace)
    members = growing_support._members(run.data, "red")
    assert [members.tolist().index(item) for item in history[-1].support] == last
    held_out = [1, 3, 5]  # neither 0 nor the two that were taken
    assert result["held_out_images"] == 3
    for entry, ious in zip(result["rounds"], IOUS, strict=True):
        assert entry["held_out_iou"] == pytest.approx(np.mean([ious[i] for i in held_out]))


@pytest.mark.slow
def test_the_network_is_scored_and_the_result_is_kept(run):
    result = growing_support.write(run, "red", 1, 1, False)
    stem = run.workdir / "results" / "refine_red"
    assert json.loads(stem.with_suffix(".json").read_text())["rounds"] == result["rounds"]
    assert "| 1 | 2 |" in stem.with_suffix(".md").read_text()
    assert stem.with_suffix(".png").stat().st_size > 1000
    assert all(0 <= entry["held_out_iou"] <= 1 for entry in result["rounds"])


@pytest.mark.parametrize(
    "class_name,rounds,message",
    [("purple", 1, "has no class 'purple'; for instance: blue"), ("red", 9, "lower --rounds")],
)
def test_what_cannot_be_refined_is_said(run, class_name, rounds, message):
    with pytest.raises(ValueError, match=message):
        growing_support.refine(run, class_name, rounds, 1, False)
