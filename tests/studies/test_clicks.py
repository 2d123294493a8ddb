"""Clicks on a query: where they go, and that they are all that changes its answer."""

import json

import numpy as np
import pytest
import toy_run

from fss_jax.scoring.workdir import open_workdir
from fss_jax.studies import clicks

GUIDED = {"width": 1 / 32, "geometry": "dilated8", "preprocessing": "centered"}


def test_a_click_goes_into_the_middle_of_the_largest_wrong_region():
    truth = np.zeros((20, 20), bool)
    truth[2:9, 3:10] = True
    answer = np.zeros_like(truth)
    answer[15:18, 15:18] = True
    assert clicks.next_click(answer, truth) == (5, 6)
    assert clicks.next_click(answer | truth, truth) == (16, 16)
    assert clicks.next_click(truth, truth) is None


@pytest.fixture(scope="module", params=["guided", pytest.param("panet", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    """Guided networks update their guide, PANet takes the query as a support."""
    fields = GUIDED if request.param == "guided" else {"width": 1 / 32, "preprocessing": "centered"}
    size = {"support_size": 32, "query_size": 32}
    folder = toy_run.save(
        tmp_path_factory.mktemp("clicks"), method=request.param, model_fields=fields, **size
    )
    return open_workdir(folder, protocol="uniform")


@pytest.mark.slow
def test_every_round_adds_a_true_click_and_is_scored(run):
    result = clicks.write(run, shots=1, episodes=3, clicks=2)
    assert result["episodes"] == 3 and len(result["clicks"]) == 3
    stem = run.workdir / "results" / "clicks_uniform_1shot"
    assert json.loads(stem.with_suffix(".json").read_text())["clicks"] == result["clicks"]
    assert "| 2 |" in stem.with_suffix(".md").read_text()
    assert stem.with_suffix(".png").stat().st_size > 1000
    records = run.protocol.records(run.data, 1)[:2]
    counts, shown = clicks.interact(run, records, 2)
    assert counts.shape == (2, 3, 4)
    assert (counts.sum(-1) == counts.sum(-1)[:, :1]).all() and (counts.sum(-1) > 900).all()
    for episode, annotation, answers in shown:
        truth, decided = episode.query_mask[0, 0], annotation >= 0
        assert 1 <= decided.sum() <= 2 and (annotation[decided] == truth[decided]).all()
        assert len(answers) == 3


def test_a_method_of_whole_masks_is_refused(toy_workdir):
    with pytest.raises(ValueError, match="oslsm takes whole masks only"):
        clicks.steps(open_workdir(toy_workdir, protocol="uniform"))
