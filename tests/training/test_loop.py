"""Training: the same run on any devices, in any pieces, whatever kills it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from fss_jax import methods
from fss_jax.data import bank as banks
from fss_jax.data import datasets, feed
from fss_jax.data.records import EpisodeSampler
from fss_jax.runtime import checkpoints, locks
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import AXIS, replicate
from fss_jax.training import journal, loop
from fss_jax.training.optimizers import make_optimizer

ROOT = Path(__file__).resolve().parents[2]


def run(toy_data, workdir, devices=1, **changes):
    config = toy.get_config()
    config.data_dir = str(toy_data)
    config.update(changes)
    loop.train(config, workdir, devices)
    return workdir


def lines(workdir, *names):
    """(step, values) of the log lines that have these names."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], *(row[n] for n in names)) for row in rows if names[0] in row]


def variables(workdir, which="latest"):
    """Name -> array, of the parameters and the batch statistics."""
    loaded = checkpoints.load_variables(checkpoints.checkpoint_folder(workdir, which))
    paths = jax.tree_util.tree_leaves_with_path(loaded)
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}


def same_bits(a, b):
    a, b = variables(a), variables(b)
    assert a.keys() == b.keys()
    return [name for name in a if a[name].tobytes() != b[name].tobytes()] == []


@pytest.fixture(scope="module")
def trained(toy_data, tmp_path_factory):
    """The uninterrupted run that others are compared with: 8 steps on one device."""
    return run(toy_data, tmp_path_factory.mktemp("trained"))


def test_a_run_leaves_what_it_says(trained):
    losses = lines(trained, "loss", "grad_norm", "train_iou", "lr")
    assert [row[0] for row in losses] == [2, 4, 6, 8]
    assert np.isfinite(losses).all()
    assert [row[0] for row in lines(trained, "val_miou")] == [4, 8]
    assert (trained / "training_curve.png").stat().st_size > 1000
    assert (trained / "pictures" / "step_0000008.png").is_file()
    assert list((trained / "tensorboard").iterdir())
    config, meta = checkpoints.load_meta(checkpoints.checkpoint_folder(trained, "latest"))
    assert config.lr == 0.1 and meta["dataset"] == "toy_squares:train"


@pytest.mark.slow
def test_a_longer_run_learns(toy_data, tmp_path):
    settings = {"steps": 160, "eval_every": 160, "log_every": 20}
    workdir = run(toy_data, tmp_path, **settings)
    losses = lines(workdir, "loss", "train_iou")
    assert losses[-1][1] < 0.5 * losses[0][1]
    assert losses[-1][2] > 0.5 > losses[0][2]
    assert lines(workdir, "val_miou")[-1][1] > 0.5  # images it never saw; all-object has 0.13


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_two_and_four_devices_train_the_same_run(toy_data, trained, tmp_path, devices):
    """Though objects are spread unevenly over them: BatchNorm and loss are of the whole batch."""
    workdir = run(toy_data, tmp_path, devices)
    one, many = (np.asarray(lines(w, "loss", "grad_norm")) for w in (trained, workdir))
    np.testing.assert_allclose(many, one, rtol=1e-3)
    (_, first), *_ = lines(workdir, "train_iou")
    assert first == pytest.approx(lines(trained, "train_iou")[0][1], abs=1e-3)
    a, b = variables(trained), variables(workdir)
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=0, atol=1e-4, err_msg=name)


class Loop:
    """What `train` sets up, without its loop."""

    def __init__(self, toy_data, devices=1, **changes):
        self.config = config = toy.get_config()
        config.data_dir = str(toy_data)
        config.update(changes)
        split = datasets.open_split(config.dataset, "train", config.data_dir)
        self.sampler = EpisodeSampler(split.items, shots=1, rule=config.rule, seed=config.seed)
        model, optimizer = methods.build_from(config), make_optimizer(config)
        variables = methods.init_variables(model, config)
        params = variables.pop("params")
        self.devices = jax.devices()[:devices]
        state = TrainState(jnp.int32(0), params, variables, optimizer.init(params))
        self.state = replicate(state, self.devices)
        self.plan = feed.Plan(config.steps_per_dispatch, config.batch // devices, self.devices)
        self.bank = replicate(banks.load_bank(split, config.canvas), self.devices)
        self.step = jax.pmap(
            loop.make_train_step(model, optimizer, config),
            axis_name=AXIS,
            devices=self.devices,
            donate_argnums=0,
        )

    def batches(self, start, stop):
        return feed.bank_feed(self.bank, self.sampler, self.plan, start, stop)

    def run(self, steps):
        """(losses, parameters) of the first `steps` steps."""
        losses = []
        for batch in self.batches(0, steps):
            self.state, measured = self.step(self.state, *batch)
            losses.append(np.asarray(measured["loss"])[0])
        return np.concatenate(losses), jax.tree.map(np.asarray, self.state.params)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_many_steps_a_dispatch_are_as_many_single_steps(toy_data, monkeypatch, backend):
    """Unrolled, as on CPUs, and in the scan that other backends take."""
    losses, params = Loop(toy_data).run(4)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    together, same = Loop(toy_data, steps_per_dispatch=2).run(4)
    assert len(losses) == len(together) == 4
    np.testing.assert_allclose(together, losses, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)


@pytest.mark.slow
def test_gradients_that_travel_as_bfloat16_give_the_same_losses(toy_data):
    """Within a hundredth over the first steps; later any rounding grows, as two seeds' losses differ."""
    losses, _ = Loop(toy_data, devices=2).run(8)
    rounded, params = Loop(toy_data, devices=2, gradient_dtype="bfloat16").run(8)
    assert losses[-1] < 0.8 * losses[0]
    assert not np.array_equal(rounded, losses)
    np.testing.assert_allclose(rounded, losses, rtol=0.01)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.slow
def test_steady_state_moves_record_integers_and_nothing_else(toy_data, monkeypatch):
    loop = Loop(toy_data, devices=2)
    sent = []
    device_put = jax.device_put

    def watched(tree, *args, **kwargs):
        sent.extend(np.asarray(leaf) for leaf in jax.tree.leaves(tree))
        return device_put(tree, *args, **kwargs)

    batches = loop.batches(0, 8)
    loop.state, _ = loop.step(loop.state, *next(batches))  # compiles
    monkeypatch.setattr(jax, "device_put", watched)
    with jax.transfer_guard("disallow"):
        for batch in batches:
            loop.state, measured = loop.step(loop.state, *batch)
    assert len(sent) == 2 * 7  # supports and queries of seven dispatches
    episodes = loop.plan.episodes
    assert all(a.dtype == np.int32 and a.size == episodes for a in sent)
    with pytest.raises(Exception, match="[Dd]isallowed"), jax.transfer_guard("disallow"):
        loop.step(loop.state, loop.bank, *(np.asarray(x) for x in batch[1:]))  # the guard guards


@pytest.mark.slow
def test_n_steps_and_n_more_are_2n_steps(toy_data, trained, tmp_path):
    run(toy_data, tmp_path, steps=4)
    assert not same_bits(tmp_path, trained)
    run(toy_data, tmp_path)
    assert same_bits(tmp_path, trained)
    assert lines(tmp_path, "loss", "grad_norm") == lines(trained, "loss", "grad_norm")
    assert lines(tmp_path, "val_miou") == lines(trained, "val_miou")


@pytest.mark.slow
def test_a_run_that_is_done_stays_as_it_is(toy_data, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    run(toy_data, workdir)
    assert same_bits(workdir, trained)
    assert lines(workdir, "loss") == lines(trained, "loss")


@pytest.mark.slow
def test_a_resume_in_the_middle_of_an_update_with_dropout_is_exact(toy_data, tmp_path):
    """Accumulated gradients, momentum and the place in the dropout stream are all kept."""
    settings = {"accumulate": 3, "model": {"dropout": 0.5}}
    whole = run(toy_data, tmp_path / "whole", **settings)
    run(toy_data, tmp_path / "parts", **settings | {"steps": 4})
    parts = run(toy_data, tmp_path / "parts", **settings)
    assert same_bits(parts, whole)


@pytest.mark.slow
def test_a_run_saved_on_one_device_goes_on_with_two(toy_data, trained, tmp_path):
    run(toy_data, tmp_path, 1, steps=4)
    run(toy_data, tmp_path, 2)
    np.testing.assert_allclose(lines(tmp_path, "loss"), lines(trained, "loss"), rtol=1e-3)


@pytest.mark.slow
def test_the_loader_trains_as_the_bank_does(toy_data, trained, tmp_path):
    run(toy_data, tmp_path, bank="loader")
    np.testing.assert_allclose(lines(tmp_path, "loss"), lines(trained, "loss"), rtol=1e-4)


class Process:
    """train.py in a process of its own, on one of the same fake devices."""

    def __init__(self, toy_data, workdir):
        self.workdir = workdir
        command = [sys.executable, "train.py", "--config", "tests/toy.py", f"--workdir={workdir}"]
        command += [f"--config.data_dir={toy_data}", "--config.steps=1000000", "--devices=1"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )  # fmt: skip

    def end(self, after, number):
        """Sends the signal once there is a checkpoint beyond step `after`; (exit code, output)."""
        deadline = time.monotonic() + 240
        while not [s for s in checkpoints.finished_steps(self.workdir) if s > after]:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=120)
        return self.process.returncode, output


@pytest.mark.slow
def test_killed_stopped_and_resumed_is_uninterrupted(toy_data, tmp_path):
    """SIGKILL, then a resumed process stopped by SIGTERM, then on in this process: bit for bit."""
    workdir = tmp_path / "run"
    code, _ = Process(toy_data, workdir).end(0, signal.SIGKILL)
    assert code == -signal.SIGKILL
    killed = checkpoints.finished_steps(workdir)[-1]
    assert killed % 4 == 0  # whole checkpoints only
    with (workdir / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "lo')  # as a kill in mid-write leaves it

    code, output = Process(toy_data, workdir).end(killed, signal.SIGTERM)
    assert code == 75, output
    stopped = checkpoints.finished_steps(workdir)[-1]
    assert stopped > killed
    assert f"resuming {workdir} at step {killed}" in output
    assert f"stopped and saved at step {stopped}" in output

    steps = stopped + 2
    run(toy_data, workdir, steps=steps)
    whole = run(toy_data, tmp_path / "whole", steps=steps, eval_every=steps)
    assert same_bits(workdir, whole)
    assert lines(workdir, "loss", "grad_norm") == lines(whole, "loss", "grad_norm")
    assert not [p for p in (workdir / "checkpoints").iterdir() if not p.name.isdigit()]


@pytest.mark.slow
def test_a_stop_before_the_first_log_line_saves(toy_data, tmp_path, monkeypatch):
    """As a scheduler may send it while the first step compiles."""
    make = loop.make_train_step

    def make_and_stop(*args):
        steps = make(*args)

        def traced(*records):
            os.kill(os.getpid(), signal.SIGTERM)
            return steps(*records)

        return traced

    monkeypatch.setattr(loop, "make_train_step", make_and_stop)
    before = signal.getsignal(signal.SIGTERM)
    run(toy_data, tmp_path, log_every=8)
    assert checkpoints.finished_steps(tmp_path) == [1]
    assert signal.getsignal(signal.SIGTERM) is before  # given back


@pytest.mark.slow
def test_divergence_stops_with_its_records_and_keeps_what_was_finite(toy_data, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(journal.NonFiniteLoss, match="^[^\n]*$") as error:
        run(toy_data, workdir, steps=16, lr=1e30)
    sampler = Loop(toy_data).sampler
    named = 0
    for step in range(8, 16):
        records = sampler.records(step * 4, 4)
        ids = [f"{sampler.items[q[0]][0]} <- {sampler.items[s[0]][0]}" for q, s in
               zip(records.query, records.support, strict=True)]  # fmt: skip
        if f"at step {step} " in str(error.value):
            assert f"positions {4 * step} to {4 * step + 3}, first: {'; '.join(ids)}" in str(
                error.value
            )
            named += 1
    assert named == 1
    assert checkpoints.finished_steps(workdir)[-1] == 8
    assert same_bits(workdir, trained)


@pytest.mark.slow
def test_parameters_that_overflow_after_a_finite_loss_are_not_saved(toy_data, tmp_path):
    """One step before a checkpoint: its loss and gradient are finite, what it leaves is not."""
    settings = {"eval_every": 1, "log_every": 1}
    with pytest.raises(journal.NonFiniteLoss, match="at step 0 "):
        run(toy_data, tmp_path, lr=1e38, **settings)
    assert checkpoints.finished_steps(tmp_path) == []


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seed": 1}, "was trained on other episodes"),
        ({"batch": 8}, "config.batch 4"),
        ({"rule": "shuffled_items"}, "was trained on other episodes"),
        ({"steps_per_dispatch": 16, "steps": 16, "eval_every": 16, "log_every": 16}, "resume with"),
        ({"optimizer": "adam"}, "does not fit this config's model and optimizer"),
        ({"model": {"width": 1 / 4}}, "does not fit this config's model and optimizer"),
    ],
)
def test_a_workdir_of_another_run_is_refused_and_left_alone(toy_data, trained, changes, said):
    before = sorted(p for p in trained.rglob("*"))
    log = (trained / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        run(toy_data, trained, **changes)
    assert said in str(error.value) and str(trained) in str(error.value)
    assert sorted(p for p in trained.rglob("*")) == before
    assert (trained / "metrics.jsonl").read_bytes() == log


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"steps": 7, "steps_per_dispatch": 2},
            "config.steps is 7, not a multiple of config.steps_per_dispatch (2)",
        ),
        ({"log_every": 0}, "config.log_every is 0; expected at least 1"),
        ({"loss": "dice"}, "expected one of sum, mean, mse"),
        ({"void": "ignored"}, "unknown config.void 'ignored'; expected one of background, ignore"),
        ({"dtype": "float33"}, "unknown config.dtype 'float33'"),
        ({"protocol": "unifrom"}, "did you mean 'uniform'?"),
        ({"val_protocol": "unifrom"}, "did you mean 'uniform'?"),
        ({"model": {"preprocessing": "cafe"}}, "did you mean 'caffe'?"),
        ({"model": {"geometry": "paprika"}}, "paper"),
        ({"method": "oslm"}, "did you mean 'oslsm'?"),
        ({"method": "nearest"}, "config.method 'nearest' has nothing to train"),
        ({"train_split": "training"}, "no split 'training'"),
        ({"shots": 9}, "an episode needs 10 images"),
        ({"model": {"geometry": "release"}}, "cannot have a stride of 32 pixels"),
    ],
)
def test_a_bad_setting_is_told_in_a_line_and_nothing_is_written(toy_data, tmp_path, changes, said):
    workdir = tmp_path / "run"
    with pytest.raises(ValueError) as error:
        run(toy_data, workdir, 4, **changes)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not workdir.exists()


@pytest.mark.slow
def test_a_second_training_in_the_workdir_is_refused_and_leaves_it_alone(toy_data, trained):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}
    with locks.alone(trained), pytest.raises(ValueError, match="is being trained in by process"):
        run(toy_data, trained, steps=16)
    assert {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()} == before
