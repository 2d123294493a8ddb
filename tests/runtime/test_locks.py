"""Locks: one training a workdir, turns in a labels folder, and nobody waits for the dead."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fss_jax.runtime import locks

HOLDS = """
import sys, time
from pathlib import Path
from fss_jax.runtime import locks
with locks.alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in tmp_path / 'run'."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_training_is_told_who_has_the_workdir(tmp_path, holder):
    with pytest.raises(locks.Held, match="^[^\n]*$") as error, locks.alone(tmp_path / "run"):
        pytest.fail("two in one workdir")
    assert f"process {holder.pid} on {socket.gethostname()}" in str(error.value)
    assert str(tmp_path / "run") in str(error.value) and "another --workdir" in str(error.value)
    assert (tmp_path / "run" / locks.HOLDER).exists()


def test_a_killed_training_leaves_a_lock_that_is_taken_over_and_said(tmp_path, holder, caplog):
    holder.kill()
    holder.wait()
    with locks.alone(tmp_path / "run"):
        said = f"left locked by process {holder.pid} on {socket.gethostname()}"
        assert said in caplog.text and "taken over" in caplog.text
        assert json.loads((tmp_path / "run" / locks.HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / locks.HOLDER).exists()


@pytest.mark.parametrize("host, refused", [(socket.gethostname(), False), ("elsewhere", True)])
def test_without_locks_of_the_file_system_the_file_decides(tmp_path, monkeypatch, host, refused):
    def without(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", without)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    line = json.dumps({"pid": gone.pid, "host": host, "since": "then"})
    (tmp_path / locks.HOLDER).write_text(line)
    if refused:
        with pytest.raises(locks.Held, match="elsewhere"), locks.alone(tmp_path):
            pytest.fail("that process may live")
    else:
        with locks.alone(tmp_path):
            pass


def test_a_workdir_that_was_only_locked_is_gone_again(tmp_path):
    with locks.alone(tmp_path / "a" / "run"):
        pass
    assert not (tmp_path / "a" / "run").exists()


def add(folder, count):
    for _ in range(count):
        with locks.turn(folder):
            path = folder / "count"
            value = int(path.read_text()) if path.exists() else 0
            time.sleep(0.001)
            path.write_text(str(value + 1))


def test_threads_and_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add, args=(tmp_path, 30)) for _ in range(2)]
    workers += [threading.Thread(target=add, args=(tmp_path, 30)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "count").read_text() == "120"
