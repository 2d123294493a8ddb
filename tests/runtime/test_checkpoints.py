"""Checkpoints: which are kept, that they come back as they were, and what is said if they do not."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax import weights
from fss_jax.runtime import checkpoints
from fss_jax.runtime.checkpoints import Checkpoints, TrainState
from fss_jax.runtime.devices import first, replicate

META = {"config": {"method": "oslsm", "model": {"preprocessing": "unit"}}, "note": [1, "a"]}


def state(step, width=1000, seed=0):
    """One of every kind of leaf that a run has; kernels too long for a file with a checksum."""
    rng = np.random.default_rng((seed, step))
    kernel = rng.normal(size=(2, width)).astype(np.float32)
    params = {"net": {"fc": {"kernel": kernel, "bias": np.zeros(width, np.float32)}}}
    extra = {
        "batch_stats": {"net": {"bn": {"mean": rng.normal(size=width).astype(np.float32)}}},
        "hash": {"kappa": np.arange(5, dtype=np.int32), "zeta": np.ones(5, np.int8)},
    }
    trace = ({"count": np.int32(step)}, {"trace": kernel * 2})
    return TrainState(np.int32(step), params, extra, trace)


def save(folder, scores):
    with Checkpoints(folder) as store:
        for step, miou in scores.items():
            store.save(state(step), META, miou)
            store.wait()
        return store.latest_step, store.best_step


def equal(a, b):
    leaves = jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b)
    return all(
        p == q and np.asarray(x).dtype == np.asarray(y).dtype and np.array_equal(x, y)
        for (p, x), (q, y) in zip(*leaves, strict=True)
    )


def test_the_latest_two_and_the_best_are_kept(tmp_path):
    scores = {10: 0.1, 20: 0.9, 30: 0.2, 40: 0.3, 50: -1.0}  # the last: stopped, not validated
    assert save(tmp_path, scores) == (50, 20)
    assert checkpoints.finished_steps(tmp_path) == [20, 40, 50]  # 40: should 50 be damaged
    assert checkpoints.checkpoint_folder(tmp_path).name == "20"
    assert checkpoints.checkpoint_folder(tmp_path, "latest").name == "50"
    assert checkpoints.checkpoint_folder(tmp_path, "20").name == "20"


def test_everything_comes_back_as_it_was(tmp_path):
    save(tmp_path, {1: 0.25, 2: 0.5})
    with Checkpoints(tmp_path) as store:
        restored, miou = store.restore(state(0))
    assert miou == 0.5 and equal(restored, state(2))
    folder = checkpoints.checkpoint_folder(tmp_path, "latest")
    variables = checkpoints.load_variables(folder)
    assert equal(variables, state(2).variables)
    config, meta = checkpoints.load_meta(folder)
    assert config.to_dict() == META["config"] and meta["note"] == META["note"]


def test_what_four_devices_saved_restores_on_one_and_on_two(tmp_path):
    with Checkpoints(tmp_path) as store:
        store.save(first(replicate(state(4), jax.devices())), META, 0.5)
    with Checkpoints(tmp_path) as store:
        restored, _ = store.restore(state(0))
    for count in (1, 2):
        assert equal(first(replicate(restored, jax.devices()[:count])), state(4))


def test_a_half_written_checkpoint_does_not_exist(tmp_path):
    save(tmp_path, {4: 0.5})
    (tmp_path / "checkpoints" / "8.orbax-checkpoint-tmp-17").mkdir()
    assert checkpoints.finished_steps(tmp_path) == [4]
    with Checkpoints(tmp_path) as store:
        assert store.latest_step == 4
        assert store.restore(state(0))[0].step == 4


@pytest.mark.parametrize(
    "which, said", [("best", "train first: fss train"), ("latest", "no checkpoint in")]
)
def test_a_workdir_without_checkpoints_is_told(tmp_path, which, said):
    with pytest.raises(FileNotFoundError, match="^[^\n]*$") as error:
        checkpoints.checkpoint_folder(tmp_path / "nowhere", which)
    assert said in str(error.value) and str(tmp_path / "nowhere") in str(error.value)


def test_a_step_that_is_not_kept_lists_those_that_are(tmp_path):
    save(tmp_path, {4: 0.5, 8: 0.4})
    with pytest.raises(FileNotFoundError, match="no checkpoint '6' in .*; it holds steps 4, 8"):
        checkpoints.checkpoint_folder(tmp_path, "6")


def test_another_model_is_refused_in_a_line(tmp_path):
    save(tmp_path, {4: 0.5})
    other = state(0)
    other.params["net"]["fc2"] = {"bias": jnp.zeros(3)}
    for target in (state(0, width=4), other):
        with (
            Checkpoints(tmp_path) as store,
            pytest.raises(ValueError, match="^[^\n]*$") as error,
        ):
            store.restore(target)
        assert "step 4" in str(error.value)
        assert "does not fit this config's model and optimizer" in str(error.value)


def test_a_workdir_to_start_from_must_fit_and_every_misfit_is_named(tmp_path):
    save(tmp_path, {4: 0.5})
    spec = f"workdir:{tmp_path}"
    loaded, preprocessing = weights.load(spec, state(0, seed=1).variables)
    assert preprocessing == "unit"
    assert equal(loaded["params"], state(4).params)
    wide = state(0, width=4).variables
    wide["params"]["net"]["fc9"] = {"bias": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match="^[^\n]*$") as error:
        weights.load(spec, wide)
    for leaf in ("net/fc/kernel", "net/fc/bias", "net/fc9/bias"):
        assert leaf in str(error.value)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path, rng):
    """One seeded mutation of a file: a flipped bit, noise, zeros, a cut, or none of it left."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(["bit", "bit", "noise", "zeros", "cut", "gone"])
    at = int(rng.integers(len(data)))
    if kind == "gone":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[:at])
    elif kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
    else:
        length = min(int(rng.integers(1, 65)), len(data) - at)
        data[at : at + length] = rng.bytes(length) if kind == "noise" else bytes(length)
        path.write_bytes(data)
    return f"{kind} of {path.name} at {at}"


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 6))]
)
def test_damage_is_said_and_the_older_checkpoint_taken(tmp_path, part, caplog):
    """300 mutations: what is read is what was saved, or it is not read."""
    save(tmp_path / "run", {10: 0.9, 20: 0.95})
    good = {10: state(10), 20: state(20)}
    taken = []
    for case in range(50):
        rng = np.random.default_rng((part, case))
        workdir = tmp_path / str(case)
        shutil.copytree(tmp_path / "run", workdir)
        newest = workdir / "checkpoints" / "20"
        what = damage(rng.choice(files_of(newest)), rng)
        caplog.clear()
        found = checkpoints.load(workdir, "best")
        assert equal(found.variables, good[found.step].variables), what
        assert found.config.to_dict() == META["config"], what
        if found.step == 10:
            assert f"the checkpoint {newest} is damaged: " in caplog.text, what
            assert "taking step 10 instead" in caplog.text, what
        caplog.clear()
        folder = checkpoints.newest_whole(workdir)
        if folder.name == "10":
            assert f"the checkpoint {newest} is damaged: " in caplog.text, what
        checkpoints.set_aside(workdir, folder)
        with Checkpoints(workdir) as store:
            restored, miou = store.restore(state(0))
            assert equal(restored, good[int(folder.name)]), what
            assert miou == {10: 0.9, 20: 0.95}[int(folder.name)], what
            if case % 10 == 0:
                store.save(state(20) if folder.name == "10" else state(30), META, 0.1)
        taken.append(folder.name)
        assert (workdir / checkpoints.DAMAGED / "20").is_dir() == (folder.name == "10"), what
        shutil.rmtree(workdir)
    assert {"10", "20"} == set(taken)  # some files, like a time stamp, decide nothing


def test_when_nothing_is_whole_it_is_said_in_a_line(tmp_path):
    save(tmp_path, {4: 0.5})
    (data,) = (tmp_path / "checkpoints/4/state/d").iterdir()
    data.write_bytes(data.read_bytes()[:-7])
    reads = (checkpoints.load, checkpoints.newest_whole, lambda w: checkpoints.load(w, "4"))
    for read in reads:
        with pytest.raises(checkpoints.Damaged, match="^[^\n]*$") as error:
            read(tmp_path)
        assert str(tmp_path / "checkpoints" / "4") in str(error.value)
        assert read is reads[2] or "no other checkpoint there is whole" in str(error.value)
    assert checkpoints.finished_steps(tmp_path) == [4]  # not moved: nothing goes on without it


def test_a_checkpoint_without_digests_still_restores(tmp_path):
    """As runs have that were saved before there were any."""
    save(tmp_path, {4: 0.5})
    (tmp_path / "checkpoints/4/meta/metadata").write_text(json.dumps(META))
    found = checkpoints.load(tmp_path)
    assert equal(found.variables, state(4).variables) and found.meta == META
    assert checkpoints.newest_whole(tmp_path).name == "4"
    with Checkpoints(tmp_path) as store:
        restored, miou = store.restore(state(0))
    assert miou == 0.5 and equal(restored, state(4))
