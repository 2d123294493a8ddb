"""Choosing a regularization: on validation episodes of training classes, never on the test split."""

import pytest

from fss_jax.data import datasets
from fss_jax.studies import regularization
from fss_jax.training import loop


@pytest.fixture
def config(toy_config, toy_workdir, monkeypatch):
    c = toy_config
    c.method = "logistic"
    del c.model.num_outputs, c.model.logit_scale
    c.init = "some weights"
    monkeypatch.setattr(regularization.weights, "start", lambda config, variables: variables)
    return c


@pytest.mark.slow
def test_the_best_on_the_validation_split_is_chosen(config, monkeypatch):
    opened = []
    real = datasets.open_split

    def watched(dataset, split, data_dir):
        opened.append(split)
        return real(dataset, split, data_dir)

    monkeypatch.setattr(loop.datasets, "open_split", watched)
    monkeypatch.setattr(regularization, "local_devices", lambda: loop.local_devices(1))
    config.val_episodes = 4
    result = regularization.choose(config, [1.0, 1e-9])
    rows = {row["strength"]: row["miou"] for row in result["strengths"]}
    assert set(opened) == {"val"} and list(rows) == [1e-9, 1.0]
    assert rows[1e-9] < rows[1.0]  # so weak a fit stays at the majority, the background
    assert result["chosen"] == 1.0 and "Chosen: 1, by" in str(regularization.page(result).body)


@pytest.mark.slow
def test_mistakes_are_told(config):
    with pytest.raises(ValueError, match="expected numbers above 0"):
        regularization.choose(config, [0.0])
    config.init = ""
    with pytest.raises(ValueError, match="names none: set config.init"):
        regularization.choose(config, [1.0])
    config.method = "nearest"
    with pytest.raises(ValueError, match="has no strength to choose; take one of logistic"):
        regularization.choose(config, [1.0])
