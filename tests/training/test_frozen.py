"""Training a head on features: the same as on images, wherever the features lie."""

import re
import signal

import jax
import numpy as np
import pytest
import toy
from ml_collections import ConfigDict

from fss_jax import methods
from fss_jax.methods import backbones
from fss_jax.runtime import checkpoints
from fss_jax.scoring import results
from fss_jax.training import loop
from fss_jax.training.dry_run import dry_run
from fss_jax.training.loop import Learner


def config_of(toy_data, **changes):
    config = toy.get_config()
    config.data_dir = str(toy_data)
    config.method = "panet"
    config.support_size = config.query_size = 32
    config.model = ConfigDict(
        {"backbone": "squeezenet1_0", "width": 1 / 16, "projection": 8, "preprocessing": "centered"}
    )
    config.update(changes)
    return config


def trained(config, workdir):
    loop.train(config, workdir, 1)
    return checkpoints.load(workdir, "latest").variables["params"]


@pytest.mark.slow
def test_features_train_as_images_do(toy_data, tmp_path):
    """To float16's precision; from the device and from the disk bit for bit; the backbone stays."""
    images = trained(config_of(toy_data), tmp_path / "images")
    found = {
        bank: trained(config_of(toy_data, features="float16", bank=bank), tmp_path / bank)
        for bank in ("device", "loader")
    }
    jax.tree.map(np.testing.assert_array_equal, found["device"], found["loader"])
    jax.tree.map(np.testing.assert_array_equal, found["device"]["encoder"], images["encoder"])
    start = methods.init_variables(methods.build_from(config_of(toy_data)), config_of(toy_data))[
        "params"
    ]["project"]["kernel"]
    kernels = (found["device"]["project"]["kernel"], images["project"]["kernel"])
    moved = np.abs(kernels[1] - start).max()
    assert moved > 0 and np.abs(kernels[0] - kernels[1]).max() < 0.05 * moved
    files = list((toy_data / "features").glob("*.array_record"))
    assert len(files) == 2  # training's and validation's, each once for both trainings

    scored = [
        results.evaluate(tmp_path / "loader", episodes=12, trivial=trivial, device_count=1)
        for trivial in (False, True)  # on features, and on images
    ]
    assert scored[0]["miou"] == pytest.approx(scored[1]["miou"], abs=0.02)


@pytest.mark.slow
def test_entries_are_drawn_and_a_stopped_run_goes_on_alike(toy_data, tmp_path):
    changes = {"features": "bfloat16", "feature_flips": True, "feature_zooms": (1.25,)}
    whole = trained(config_of(toy_data, **changes), tmp_path / "whole")
    trained(config_of(toy_data, steps=4, **changes), tmp_path / "parts")
    parts = trained(config_of(toy_data, **changes), tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    plain = trained(config_of(toy_data, features="bfloat16"), tmp_path / "plain")
    assert np.abs(whole["project"]["kernel"] - plain["project"]["kernel"]).max() > 1e-5


@pytest.mark.slow
def test_a_backbone_that_learns_is_refused(toy_data, tmp_path):
    config = config_of(toy_data, features="float16")
    config.model.projection = 0
    with pytest.raises(ValueError, match="learns with these fields"):
        loop.train(config, tmp_path, 1)
    config = config_of(toy_data, features="float16", support_size=48)
    with pytest.raises(ValueError, match="expected one size"):
        loop.train(config, tmp_path, 1)


def test_a_dry_run_counts_what_learns_and_its_features(toy_data, tmp_path):
    config, before = config_of(toy_data, optimizer="adam"), set(toy_data.rglob("*"))
    plain = dry_run(config, tmp_path, 1, Learner(), device_gib=1.0)
    config.features = "float16"
    text = dry_run(config, tmp_path, 1, Learner(), device_gib=1.0)
    assert "features: float16 of every image" in text and "features" not in plain

    def optimizer_gib(told):
        return float(re.search(r"optimizer ([\d.e-]+)", told)[1])

    # Adam keeps two numbers for each weight that learns: the 1x1 convolution's alone with features.
    channels = backbones.get("squeezenet1_0").channels // 16
    numbers = 2 * channels * config.model.projection
    assert optimizer_gib(text) == pytest.approx(4 * numbers / 2**30, rel=0.02)
    assert optimizer_gib(text) < optimizer_gib(plain)
    assert set(toy_data.rglob("*")) == before


@pytest.mark.slow
def test_sigterm_stops_while_features_are_computed(toy_data, tmp_path, monkeypatch):
    """Only with steps to save is it put off until they are saved."""
    before, found = signal.getsignal(signal.SIGTERM), []

    def computing(*_, **__):
        found.append(signal.getsignal(signal.SIGTERM))
        raise ValueError("stopped")

    monkeypatch.setattr(loop.frozen, "features_of", computing)
    with pytest.raises(ValueError, match="stopped"):
        loop.train(config_of(toy_data, features="float16"), tmp_path, 1)
    assert found == [before]
