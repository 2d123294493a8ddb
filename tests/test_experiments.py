"""Experiments: what they name exists, parts run once and in order, and ours stands beside published.

The trainings themselves are `make toy`.
"""

import inspect

import pytest

from fss_jax import experiments, models, protocols, results
from fss_jax.experiments import __main__ as command
from fss_jax.experiments import runner, toy
from fss_jax.experiments.runner import Experiment, Scoring, Training

NAMES = list(experiments.EXPERIMENTS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shrunk", [False, True], ids=["full", "toy"])
def test_an_experiment_names_only_what_exists(name, shrunk, tmp_path):
    experiment = experiments.EXPERIMENTS[name]
    if shrunk:
        experiment = toy.shrink(experiment)
    trained = set()
    for training in experiment.trainings:
        assert not training.start or training.start in trained, "starts from a later training"
        trained.add(training.name)
        config = training.get_config("data", tmp_path)
        models.build_from(config)
        assert config.init == f"workdir:{tmp_path / training.start}" or not training.start
        assert not shrunk or (config.steps == 2 and config.dataset == toy.DATASET)
    known = set(inspect.signature(results.evaluate).parameters)
    for scoring in experiment.scorings:
        assert scoring.training in trained and set(scoring.settings) <= known
        protocols.get(scoring.settings["protocol"])
    assert len({scoring.file for scoring in experiment.scorings}) == len(experiment.scorings)


def test_trainings_of_one_name_are_the_same_in_every_experiment(tmp_path):
    seen = {}
    for experiment in experiments.EXPERIMENTS.values():
        for training in experiment.trainings:
            config = training.get_config("data", tmp_path).to_json(sort_keys=True)
            assert seen.setdefault(training.name, config) == config


CHAIN = Experiment(
    title="A chain",
    notes="Two trainings.",
    trainings=(
        Training("first", "relation_small", {"steps": 4}),
        Training("second", "relation_small", {"steps": 4, "model.form": "paper"}, start="first"),
    ),
    scorings=(
        Scoring("one", "x", "first", 12.5, {"protocol": "uniform"}),
        Scoring("two", "x", "second", None, {"protocol": "uniform"}),
    ),
)


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training and scoring: writes what the runner looks at, and keeps the calls."""
    made = []

    def train(config, workdir):
        made.append(("train", workdir.name, config.init))
        (workdir / "checkpoints" / str(config.steps)).mkdir(parents=True)

    def evaluate(workdir, **settings):
        made.append(("score", workdir.name, settings["protocol"]))
        steps = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
        return {
            "miou": 0.25,
            "miou_ci95": [0.2, 0.3],
            "episodes": 7,
            "records_sha256": "abcdef" * 10,
            "checkpoint_step": max(steps),
            "device": "1 x cpu",
            "versions": {"jax": "0"},
            "date": "2020-01-01",
            "command": "python",
        }

    monkeypatch.setattr(runner.training, "train", train)
    monkeypatch.setattr(runner.results, "evaluate", evaluate)
    return made


def test_a_second_run_does_only_what_is_missing(calls, tmp_path):
    runner.run("chain", CHAIN, "data", tmp_path)
    assert calls == [
        ("train", "first", ""),
        ("train", "second", f"workdir:{tmp_path / 'first'}"),
        ("score", "first", "uniform"),
        ("score", "second", "uniform"),
    ]
    calls.clear()
    text = runner.run("chain", CHAIN, "data", tmp_path)
    assert calls == []
    (tmp_path / "scores" / "chain" / "two_x.json").unlink()
    (tmp_path / "first" / "checkpoints" / "4").rename(tmp_path / "first" / "checkpoints" / "2")
    assert runner.run("chain", CHAIN, "data", tmp_path) == text
    assert calls == [  # the stopped training goes on, and is scored anew
        ("train", "first", ""),
        ("score", "second", "uniform"),
    ]


def test_a_stopped_training_stops_the_experiment(calls, tmp_path, monkeypatch):
    def stopped(config, workdir):
        (workdir / "checkpoints" / "1").mkdir(parents=True)

    monkeypatch.setattr(runner.training, "train", stopped)
    with pytest.raises(InterruptedError, match="first was stopped at step 1 of 4"):
        runner.run("chain", CHAIN, "data", tmp_path)
    assert calls == [] and not (tmp_path / "second").exists()


def test_the_table_has_ours_beside_published(calls, tmp_path):
    text = runner.run("chain", CHAIN, "data", tmp_path)
    assert (tmp_path / "chain.md").read_text() == text
    assert "| one | x | 25.00 | 20.00 to 30.00 | 12.50 | 7 | `abcdefabcdef` | 4 |" in text
    assert "| two | x | 25.00 | 20.00 to 30.00 |  | 7 |" in text


def test_an_unknown_experiment_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["fss_tabel5"])
    assert stopped.value.code == 2
    assert "did you mean 'fss_table5'?" in capsys.readouterr().err
