"""Experiments: what they name exists, parts run once and in order, and ours stands beside published.

The trainings themselves are `make toy`.
"""

import dataclasses
import inspect

import jax
import numpy as np
import pytest
from PIL import Image

from fss_jax import experiments, methods
from fss_jax.cli import main
from fss_jax.experiments import given_images, oslsm_table1, runner, toy
from fss_jax.experiments.categories import SuperCategories
from fss_jax.experiments.curves import LearningCurves
from fss_jax.experiments.fss_table6 import LabelTimes
from fss_jax.experiments.given_images import GivenImages
from fss_jax.experiments.runner import BaseTraining, Experiment, Scoring, Training
from fss_jax.experiments.side_by_side import SideBySide
from fss_jax.experiments.timing import TimingTable, measure
from fss_jax.runtime import devices
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
    for part in parts(experiment, (TimingTable, SuperCategories, SideBySide)):
        scorings += part.scorings
    for part in parts(experiment, (LabelTimes, GivenImages)):
        assert part.training in (trained if part.training else {""})
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


def test_an_experiment_runs_on_as_many_devices_as_are_asked_for(monkeypatch, tmp_path):
    used = []
    monkeypatch.setattr(runner, "run", lambda *_: used.append(devices.local_devices()))
    monkeypatch.setattr(devices, "_used", 0)
    for count in ("2", "0"):
        main(["experiments", "oslsm_table1", "--out", str(tmp_path), "--devices", count])
    assert used == [jax.local_devices()[:2], jax.local_devices()]


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
    assert [part.name for part in tiny.trainings] == [
        "oslsm_fold0", "base_fold0", "siamese_fold0", "oslsm_dilated_fold0",
    ]  # fmt: skip
    dilated = {("OSLSM, dilated", shots) for shots in oslsm_table1.DILATED}
    assert {s.row for s in tiny.scorings} == {r for r, _ in {*oslsm_table1.PUBLISHED, *dilated}}
    assert len(tiny.scorings) == len(oslsm_table1.PUBLISHED) + len(dilated)


def test_a_part_of_a_toy_run_asks_for_trainings_that_stand_for_others():
    tiny = toy.shrink(experiments.EXPERIMENTS["fss_figure6"])
    kept = [training.name for training in tiny.trainings]
    assert kept == ["fs_pascal_bce", "fss1000_bce"]  # of three: the first two differ in data alone
    for part in tiny.parts:
        assert [scoring.training for scoring in part.scorings] == [kept[0], kept[0], kept[1]]


def test_oslsm_is_scored_where_its_paper_stops_and_best_by_validation_is_the_alternative():
    table = experiments.EXPERIMENTS["oslsm_table1"]
    which = {s.row: s.settings.get("checkpoint", "best") for s in table.scorings}
    assert which["OSLSM"] == which["OSLSM, dilated"] == "latest" and which["Siamese"] == "best"
    best = runner.by_checkpoint(table, "best")
    assert {s.settings["checkpoint"] for s in best.scorings if not s.config} == {"best"}
    assert not any("checkpoint" in s.settings for s in best.scorings if s.config)
    files = [{s.file for s in one.scorings if s.row == "OSLSM"} for one in (table, best)]
    assert not files[0] & files[1], "one score must not stand for the other"


def test_a_line_whose_weights_are_absent_is_left_out_and_named(calls, tmp_path):
    there = Training("one", "relation/small", {"schedule": "constant"})
    absent = Training("two", "relation/small", {"init": f"dino:{tmp_path}/absent"})
    level = Scoring("LogReg, absent", "x", "two", None, {"protocol": "uniform"}, "oslsm/quickstart")
    figure = LearningCurves(
        (("here", there), ("absent", absent)), (2, 4), {"protocol": "uniform"}, (level,)
    )
    experiment = Experiment("A figure", "Notes.", (absent,), (), (figure,))
    text = runner.run("figure", experiment, "data", tmp_path)
    assert [name for kind, name, _ in calls if kind == "train"] == ["one", "one"]
    assert f"Left out, for want of weights: absent ({tmp_path}/absent is not there); " in text
    assert "LogReg, absent" in text and "| here |" in text
    assert (tmp_path / "figure.png").stat().st_size > 1000
    alone = Experiment("A figure", "Notes.", (), (), (LearningCurves(figure.lines[1:], (2,), {}),))
    with pytest.raises(ValueError, match="has no line to draw: .*absent is not there"):
        runner.run("alone", alone, "data", tmp_path)


@pytest.mark.slow
def test_given_images_are_labelled_and_pictured(toy_workdir, tmp_path):
    (tmp_path / "run").symlink_to(toy_workdir)
    support, images = tmp_path / "support", tmp_path / "images"
    for folder in (support, images):
        folder.mkdir()
    square = np.zeros((40, 48, 3), np.uint8)
    square[10:30, 12:36] = 200
    for number in range(2):
        Image.fromarray(square).save(support / f"{number}.png")
        Image.fromarray(square[..., 0] // 200 * 255).save(support / f"{number}_mask.png")
    for number in range(8):
        Image.fromarray(np.roll(square, number, 1)).save(images / f"photo{number}.png")
    figure = experiments.EXPERIMENTS["fss_figure10"]
    part = given_images.given(figure, support, images).parts[0]
    text = dataclasses.replace(part, training="run").run("figure", "data", tmp_path)
    assert "8 images of" in text and "![what is found](figure.png)" in text
    with Image.open(tmp_path / "figure.png") as sheet:
        assert sheet.width > 6 * 160 and sheet.height > 3 * 160
    with pytest.raises(ValueError, match="takes no --images; these do: fss_figure10"):
        given_images.given(experiments.EXPERIMENTS["fss_table2"], support, images)


SCORE = {
    "miou": 0.4, "miou_ci95": [0.3, 0.5], "per_class": {"red": {}, "blue": {}},
    "super_categories": {"warm": {"miou": 0.6, "ci95": [0.5, 0.7], "classes": 1}},
    "dataset": "toy_squares", "split": "test", "device": "1 x cpu", "versions": {"jax": "0"},
    "date": "2020-01-01",
}  # fmt: skip


def test_bars_of_super_categories_have_their_overlap_beside_them(
    toy_workdir, tmp_path, monkeypatch
):
    (tmp_path / "run").symlink_to(toy_workdir)
    monkeypatch.setattr("fss_jax.experiments.categories.scored", lambda *_: SCORE)
    monkeypatch.setattr(
        "fss_jax.experiments.categories._members",
        lambda *_: {"warm": {"apple"}, "all classes": {"apple", "mouse"}},
    )
    monkeypatch.setattr(
        "fss_jax.experiments.categories._shown", lambda names, *_: {"apple"} & names
    )
    lines = tuple(Scoring(row, "x", "run", None, {}) for row in ("fsPASCAL", "fsCOCO"))
    text = SuperCategories(lines, overlap=True).run("bars", toy_workdir.parent / "data", tmp_path)
    assert "| warm | 1 | 60.0 (50.0 to 70.0), overlap 100 |" in text
    assert "| all classes | 2 | 40.0 (30.0 to 50.0), overlap 50 |" in text
    assert (tmp_path / "bars.png").stat().st_size > 1000
