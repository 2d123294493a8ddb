"""Experiments: what they name exists, parts run once and in order, and ours stands beside published.

The trainings themselves are `make toy`.
"""

import inspect

import pytest

from fss_jax import experiments, methods
from fss_jax.cli import main
from fss_jax.experiments import oslsm_table1, runner, toy
from fss_jax.experiments.curves import LearningCurves
from fss_jax.experiments.runner import BaseTraining, Experiment, Scoring, Training
from fss_jax.experiments.timing import TimingTable, measure
from fss_jax.scoring import protocols, results

ALL = experiments.EXPERIMENTS | experiments.SMALL


def parts(experiment, kind):
    return [part for part in experiment.parts if isinstance(part, kind)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shrunk", [False, True], ids=["full", "toy"])
def test_an_experiment_names_only_what_exists(name, shrunk, tmp_path):
    experiment = ALL[name]
    if shrunk:
        experiment = toy.shrink(experiment)
    trained = set()
    lines = [one for part in parts(experiment, LearningCurves) for _, one in part.lines]
    for training in (*experiment.trainings, *lines):
        assert not training.start or training.start in trained, "starts from a later training"
        trained.add(training.name)
        config = training.get_config("data", tmp_path)
        methods.build_from(config)
        assert methods.get(config.method).few_shot != isinstance(training, BaseTraining)
        assert config.init == f"workdir:{tmp_path / training.start}" or not training.start
        assert not shrunk or (config.steps == 2 and config.dataset == toy.DATASET)
    known = set(inspect.signature(results.evaluate).parameters)
    scorings = list(experiment.scorings)
    for part in parts(experiment, TimingTable):
        scorings += part.scorings
    for part in parts(experiment, LearningCurves):
        scorings += part.levels
    for scoring in scorings:
        assert scoring.training in trained or (scoring.config and not scoring.training)
        assert set(scoring.settings) <= known
        if scoring.config:
            config = scoring.get_config("data", tmp_path)
            methods.build_from(config)
            weights = config.init or config.method == "cosegment"
            assert weights, f"{scoring.row} has no weights to score"
            if scoring.training:
                assert config.init == f"workdir:{tmp_path / scoring.training}"
        protocols.get(scoring.settings["protocol"])
    assert len({scoring.file for scoring in experiment.scorings}) == len(experiment.scorings)


def test_trainings_of_one_name_are_the_same_in_every_experiment(tmp_path):
    seen = {}
    for experiment in ALL.values():
        for training in experiment.trainings:
            config = training.get_config("data", tmp_path).to_json(sort_keys=True)
            assert seen.setdefault(training.name, config) == config


class Figure:
    """A part that keeps what it was asked."""

    asked = []

    def run(self, name, data_dir, workdir):
        self.asked.append((name, data_dir, workdir))
        return "![figure](chain_figure.png)\n"

    def shrink(self):
        return self


CHAIN = Experiment(
    title="A chain",
    notes="Two trainings.",
    trainings=(
        Training("first", "relation/small", {"steps": 4}),
        Training("second", "relation/small", {"steps": 4, "model.form": "paper"}, start="first"),
    ),
    scorings=(
        Scoring("one", "x", "first", 12.5, {"protocol": "uniform"}),
        Scoring("two", "x", "second", None, {"protocol": "uniform"}),
    ),
)
# 1-NN on the first training's weights, and a method without weights.
UNTRAINED = Experiment(
    title="Untrained methods",
    notes="And a figure.",
    trainings=CHAIN.trainings[:1],
    scorings=(
        Scoring(
            "nearest", "x", "first", 1.0, {"protocol": "uniform"}, "oslsm/quickstart",
            {"method": "nearest", "seed": 7},
        ),
        Scoring("cosegment", "x", "", None, {"protocol": "uniform"}, "oslsm/quickstart"),
    ),
    parts=(Figure(),),
)  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training and scoring: writes what the runner looks at, and keeps the calls."""
    made = []

    def train(config, workdir):
        made.append(("train", workdir.name, config.init))
        (workdir / "checkpoints" / str(config.steps)).mkdir(parents=True)

    def evaluate(workdir, config=None, **settings):
        made.append(("score", workdir.name, settings["protocol"]))
        if config:
            made.append((config.method, config.seed, config.init))
            steps = [0]
        else:
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

    monkeypatch.setattr(runner.loop, "train", train)
    monkeypatch.setattr(runner.results, "evaluate", evaluate)
    return made


def test_a_second_run_does_only_what_is_missing(calls, tmp_path):
    runner.run("chain", CHAIN, "data", tmp_path)
    assert calls == [
        ("train", "first", ""),
        ("score", "first", "uniform"),
        ("train", "second", f"workdir:{tmp_path / 'first'}"),
        ("score", "second", "uniform"),
    ]
    calls.clear()
    text = runner.run("chain", CHAIN, "data", tmp_path)
    assert calls == []
    next((tmp_path / "scores").glob("two_x_*.json")).unlink()
    (tmp_path / "first" / "checkpoints" / "4").rename(tmp_path / "first" / "checkpoints" / "2")
    assert runner.run("chain", CHAIN, "data", tmp_path) == text
    assert calls == [  # the stopped training goes on, and is scored anew
        ("train", "first", ""),
        ("score", "second", "uniform"),
    ]


def test_untrained_methods_are_scored_on_the_weights_of_a_training(calls, tmp_path):
    text = runner.run("untrained", UNTRAINED, "data", tmp_path)
    assert calls[1:] == [
        ("score", "oslsm_quickstart_first", "uniform"),
        ("nearest", 7, f"workdir:{tmp_path / 'first'}"),
        ("score", "oslsm_quickstart", "uniform"),
        ("oslsm", 0, ""),
    ]
    assert "| nearest | x | 25.00 | 20.00 to 30.00 | 1.00 | 7 | `abcdefabcdef` | 4 |" in text
    assert text.endswith("\n![figure](chain_figure.png)\n")
    assert Figure.asked == [("untrained", "data", tmp_path)]
    calls.clear()
    assert runner.run("untrained", UNTRAINED, "data", tmp_path) == text and calls == []
    (tmp_path / "first" / "checkpoints" / "4").rename(tmp_path / "first" / "checkpoints" / "6")
    runner.run("untrained", UNTRAINED, "data", tmp_path)
    assert calls[0] == ("score", "oslsm_quickstart_first", "uniform") and len(calls) == 2


def test_a_stopped_training_stops_the_experiment(calls, tmp_path, monkeypatch):
    def stopped(config, workdir):
        (workdir / "checkpoints" / "1").mkdir(parents=True)

    monkeypatch.setattr(runner.loop, "train", stopped)
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
        main(["experiments", "fss_tabel5"])
    assert stopped.value.code == 2
    assert "did you mean 'fss_table5'?" in capsys.readouterr().err


def test_small_and_toy_are_two_sizes(capsys):
    with pytest.raises(SystemExit):
        main(["experiments", "all", "--small", "--toy"])
    assert "not allowed with" in capsys.readouterr().err


def test_an_experiment_without_a_small_form_names_those_that_have_one(monkeypatch):
    monkeypatch.setattr(experiments, "SMALL", {"fss_table2_small": CHAIN})
    assert experiments.get("fss_table2", small=True) == [("fss_table2_small", CHAIN)]
    assert experiments.get("all", small=True) == [("fss_table2_small", CHAIN)]
    with pytest.raises(ValueError, match="fss_table5 has no --small form; these have: fss_table2"):
        experiments.get("fss_table5", small=True)


def test_methods_take_turns_after_all_are_warm():
    made = []
    seconds = measure([lambda i: made.append(("a", i)), lambda i: made.append(("b", i))], 2)
    assert made[:6] == [(name, i) for name in "ab" for i in range(3)]
    assert made[6:] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [len(times) for times in seconds] == [2, 2] and min(map(min, seconds)) > 0


def test_a_toy_run_does_once_what_differed_in_its_fold():
    tiny = toy.shrink(experiments.EXPERIMENTS["oslsm_table1"])
    assert [part.name for part in tiny.trainings] == ["oslsm_fold0", "base_fold0", "siamese_fold0"]
    assert {s.row for s in tiny.scorings} == {r for r, _ in oslsm_table1.PUBLISHED}
    assert len(tiny.scorings) == len(oslsm_table1.PUBLISHED)
