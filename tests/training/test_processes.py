"""Two processes joined by jax.distributed are one run: as one process with two devices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import toy

from fss_jax.runtime import checkpoints, devices
from fss_jax.scoring import results
from fss_jax.studies import every_pair
from fss_jax.training import loop

ROOT = Path(__file__).resolve().parents[2]


def start(rank: int, port: int, *arguments) -> subprocess.Popen:
    own = {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(rank),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    command = [sys.executable, ROOT / "tests" / "one_of_two.py", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | own
    )


@pytest.fixture(scope="module")
def together(toy_data, tmp_path_factory):
    """The workdir of two processes, of which one was told to stop."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    pair = [start(rank, port, toy_data, workdir) for rank in range(2)]
    try:
        deadline = time.monotonic() + 240
        while not checkpoints.finished_steps(workdir):
            for process in pair:
                assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pair[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=240)[0] for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert [process.returncode for process in pair] == [0, 0], (
        outputs[0][-3000:] + outputs[1][-3000:]
    )
    return workdir


@pytest.fixture(scope="module")
def alone(toy_data, together, tmp_path_factory):
    """The same run in one process with two devices, as far as the others came."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    config = toy.get_config()
    config.data_dir = str(toy_data)
    config.steps, config.log_every = checkpoints.finished_steps(together)[-1], 1
    loop.train(config, workdir, 2)
    return workdir


def log(workdir: Path) -> list[dict]:
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if "loss" in row]


@pytest.mark.slow
def test_two_processes_train_the_run_of_two_devices(together, alone):
    """The same records in the same places: losses, gradients, and in the end parameters."""
    ours, theirs = (
        [[row[key] for key in ("step", "loss", "grad_norm")] for row in log(workdir)]
        for workdir in (together, alone)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    a, b = (
        jax.tree.leaves(
            checkpoints.load_variables(checkpoints.checkpoint_folder(workdir, "latest"))
        )
        for workdir in (together, alone)
    )
    assert len(a) == len(b) > 5
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.slow
def test_one_that_is_told_to_stop_stops_both_with_one_whole_checkpoint(together):
    steps = [row["step"] for row in log(together)]
    assert steps == list(range(1, len(steps) + 1))  # one log, each step once
    assert checkpoints.finished_steps(together)[-1] == len(steps)
    assert not [p for p in (together / "checkpoints").iterdir() if not p.name.isdigit()]


@pytest.mark.slow
def test_they_count_what_one_process_counts(together):
    (path,) = (together / "results").glob("uniform_*.json")
    found = json.loads(path.read_text())
    assert found["device"].startswith("2 x")
    expected = results.evaluate(
        together, checkpoint="latest", episodes=10, trivial=False, device_count=1
    )
    assert found["episodes"] == expected["episodes"] == 10
    assert found["records_sha256"] == expected["records_sha256"]
    assert found["per_class"] == expected["per_class"]


@pytest.mark.slow
def test_they_score_the_pairs_that_one_process_scores(together):
    found = json.loads((together / "results" / "exhaustive_1shot.json").read_text())
    assert found["device"].startswith("2 x")
    expected = every_pair.evaluate(together, checkpoint="latest", device_count=1)
    assert found["pairs"] == expected["pairs"] > 10
    assert found["per_class"] == expected["per_class"]


def test_the_environment_decides_who_joins(monkeypatch):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: asked.append(given))
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE",
                 "TPU_WORKER_HOSTNAMES", "MEGASCALE_COORDINATOR_ADDRESS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    devices.join_cluster()
    assert not asked
    devices.join_cluster(True)  # a TPU pod tells its hosts through its own service
    assert asked.pop() == {}
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    devices.join_cluster()
    assert not asked
    monkeypatch.setenv("SLURM_NTASKS", "8")
    devices.join_cluster()
    assert asked.pop() == {}
    devices.join_cluster(False)
    assert not asked
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    devices.join_cluster()
    assert asked.pop() == {"num_processes": 4, "process_id": 3}
    monkeypatch.delenv("JAX_PROCESS_ID")
    with pytest.raises(ValueError, match="^cannot join the other processes[^\n]*--nocluster"):
        devices.join_cluster()


def test_every_row_has_a_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    rows = []
    for rank in range(3):
        monkeypatch.setattr(jax, "process_index", lambda rank=rank: rank)
        rows.append(devices.process_rows(10))
    assert {len(share) for share in rows} == {4}
    np.testing.assert_array_equal(np.concatenate(rows)[:10], np.arange(10))
