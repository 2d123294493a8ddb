"""Checkpoints: which are kept, that they come back as they were, and what is said if they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax import weights
from fss_jax.runtime import checkpoints
from fss_jax.runtime.checkpoints import Checkpoints, TrainState
from fss_jax.runtime.devices import first, replicate

META = {"config": {"method": "oslsm", "model": {"preprocessing": "unit"}}, "note": [1, "a"]}


def state(step, width=3, seed=0):
    """One of every kind of leaf that a run has: floats, hash tables, counters."""
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


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {10: 0.1, 20: 0.9, 30: 0.2, 40: 0.3, 50: -1.0}  # the last: stopped, not validated
    assert save(tmp_path, scores) == (50, 20)
    assert checkpoints.finished_steps(tmp_path) == [20, 50]
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
    "which, said", [("best", "train first: python train.py"), ("latest", "no checkpoint in")]
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
