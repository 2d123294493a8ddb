"""A dry run says what a training would do, and does nothing; a batch runs on any number of devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import stand_ins
from published_configs import NAMES

from fss_jax import configs
from fss_jax.data import feed
from fss_jax.data.records import TooFewImages
from fss_jax.runtime.devices import that_share
from fss_jax.training import checks, loop
from fss_jax.training.dry_run import dry_run, ways
from fss_jax.training.loop import Learner
from fss_jax.training.scale import scale

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_data_lists_devices_memory_and_paths_and_writes_nothing(toy_config, tmp_path):
    toy_config.batch = 6
    text = dry_run(toy_config, tmp_path / "run", 4, Learner(), device_gib=1.0)
    assert "toy_squares" in text and "records" in text
    assert "devices: 3 x cpu, 2 of 6 episodes each; 1 idle" in text
    assert "of 1 on each device" in text and "does not fit" not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_says_what_does_not_fit_and_what_would(toy_config, tmp_path):
    toy_config.batch, toy_config.bank = 4, "device"
    text = dry_run(toy_config, tmp_path, 2, Learner(), device_gib=1e-4)
    assert "does not fit; on each device needs" in text and "nothing of this fits" in text
    told = [line for line in text.splitlines() if line.startswith("  config.")]
    assert told[0].startswith("  config.bank=loader: ")
    needs = [float(line.rsplit(": ", 1)[1].split()[0]) for line in told]
    assert needs == sorted(needs, reverse=True)
    text = dry_run(toy_config, tmp_path, 2, Learner(), device_gib=1.01 * needs[0])
    assert text.count("which fits") == 1 and "nothing of this fits" not in text


def test_what_needs_less_comes_in_order_and_the_same_update_first():
    config = configs.get("oslsm/release")
    found = ways(config, jax.devices()[:2], resident=True)
    assert [told for _, told in found[:2]] == [
        "config.bank=loader",
        "config.batch=2 config.accumulate=5 config.steps=300000 (the same update)",
    ]
    assert [set(changes) for changes, _ in found[2:]] == [
        {"remat"}, {"shard_optimizer"}, {"dtype"}, {"moments"},
    ]  # fmt: skip
    for changes, _ in found:
        config.update(changes)
    assert not ways(config, jax.devices()[:2], resident=False)


@pytest.mark.parametrize(
    ("batch", "devices", "used"), [(10, 1, 1), (10, 2, 2), (10, 4, 2), (1, 4, 1)]
)
def test_as_many_devices_work_as_share_evenly(batch, devices, used):
    assert that_share(batch, jax.devices()[:devices]) == jax.devices()[:used]


def test_a_list_that_cannot_be_drawn_stops_before_training(toy_config):
    toy_config.protocol = "fss1000_paper"  # ten images of a class; the toy has four
    with pytest.raises(TooFewImages, match="fss1000_paper"):
        checks.check_lists(toy_config)


def test_records_are_cut_where_their_images_no_longer_fit():
    images = np.asarray([[0, 1], [1, 2], [2, 3], [0, 3], [4, 5]])
    runs = list(feed.parts(images, 3))
    assert [images[rows].tolist() for rows, _ in runs] == [
        [[0, 1], [1, 2]],
        [[2, 3], [0, 3]],
        [[4, 5]],
    ]
    for rows, needed in runs:
        assert len(needed) == 3 and set(images[rows].ravel()) <= set(needed)
    assert list(feed.parts(images, 6)) == [(slice(0, 5), [0, 1, 2, 3, 4, 5])]
    with pytest.raises(ValueError, match="one episode has 2 images"):
        list(feed.parts(images, 1))


LOSSES = """
import sys
import os
import subprocess
import sys
from pathlib import Path

import jax
sys.path[:0] = ["tests", "tests/training"]
from test_loop import Loop
from fss_jax.runtime.devices import that_share
for count in (1, 2, 4, 8):
    used = len(that_share(10, jax.devices()[:count]))
    losses, _ = Loop(sys.argv[1], devices=used, batch=10, steps_per_dispatch=1).run(3)
    print(used, *(f"{loss:.6f}" for loss in losses))
"""


@pytest.mark.slow
def test_a_published_batch_of_ten_makes_the_same_updates_on_1_2_4_and_8_devices(toy_data):
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "NPROC": "16",  # with fewer threads than twice the devices a collective hangs
    }
    done = subprocess.run(
        [sys.executable, "-c", LOSSES, str(toy_data)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [[float(x) for x in line.split()] for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [1, 2, 2, 5]
    for row in rows[1:]:
        np.testing.assert_allclose(row[1:], rows[0][1:], rtol=1e-4)


def test_scaling_keeps_the_episodes_of_everything_that_counts_steps():
    config = configs.get("relation/release")
    scaled = scale(config, 8)
    assert scaled.batch == 8 * config.batch and config.batch == 1
    for name in ("steps", "halve_every", "eval_every"):
        assert scaled[name] * scaled.batch == config[name] * config.batch, name
    for name in ("steps", "eval_every", "log_every"):
        assert scaled[name] % scaled.steps_per_dispatch == 0, name
    with pytest.raises(ValueError, match="config.log_every"):
        scale(config, 1000)


def test_a_bucket_is_refused_in_a_line(toy_config, tmp_path):
    with pytest.raises(ValueError, match="gs://bucket/x is not on a local disk"):
        loop.train(toy_config, "gs://bucket/x")
    toy_config.data_dir = "gs://bucket/data"
    with pytest.raises(ValueError, match="gs://bucket/data is not on a local disk"):
        loop.train(toy_config, tmp_path / "run")
    assert not Path("gs:").exists() and not list(tmp_path.iterdir())


def test_what_is_published_is_at_full_size():
    assert len(NAMES) >= 18
    for name in NAMES:
        model = configs.get(name).model
        assert model.get("width", 1) == 1 and "blocks" not in model, name


PLAN = """
import sys
from fss_jax import configs
from fss_jax.training import base_network, dry_run
names, data_dir, workdir = sys.argv[1].split(","), sys.argv[2], sys.argv[3]

def traced_once(traces, key):
    known = {}
    def found(*arguments):
        of = name, key(*arguments)
        if of not in known:
            known[of] = traces(*arguments)
        return known[of]
    return found

# A config has the same weights on any number of devices, and its step where as many of them work.
dry_run.variable_shapes = traced_once(dry_run.variable_shapes, lambda *_: None)
dry_run.step_needs = traced_once(
    dry_run.step_needs, lambda config, learner, variables, split, devices, resident: len(devices)
)
for name in names:
    config = configs.get(name)
    config.data_dir = data_dir
    for devices in (1, 8):
        learner = base_network.learner_of(config)
        told = dry_run.dry_run(config, workdir, devices, learner, device_gib=80.0)
        print(f"== {name} {devices}", told, sep="\\n")
"""


@pytest.mark.slow
def test_every_published_config_is_dry_run_on_1_and_8_devices(tmp_path):
    """At full size, on stand-ins for their datasets: shapes alone, one process, nothing compiled."""
    stand_ins.prepare(tmp_path / "data", *sorted({configs.get(name).dataset for name in NAMES}))
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "NPROC": "16",  # with fewer threads than twice the devices a collective hangs
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAN, ",".join(NAMES), tmp_path / "data", tmp_path / "run"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()
    told = {}
    for block in done.stdout.split("== ")[1:]:
        name, devices, said = block.split(maxsplit=2)
        told[name, int(devices)] = said
    assert len(told) == 2 * len(NAMES)
    for name in NAMES:
        batch = configs.get(name).batch
        used = max(n for n in range(1, 9) if batch % n == 0)
        for devices, working in ((1, 1), (8, used)):
            said = told[name, devices]
            each = f"devices: {working} x cpu, {batch // working} of {batch} episodes each"
            idle = f"; {devices - working} idle" if devices > working else ""
            assert f"{each}{idle}\n" in said and "workdir: " in said, (name, said)
            for line in ("data: ", "validation: ", "test: ", "memory: "):
                assert f"\n{line}" in f"\n{said}", (name, said)
            assert "not fit" not in said, (name, said)
