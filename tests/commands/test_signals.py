"""SIGINT and SIGTERM end every command in one line with its exit code, from its first import on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_pictures
from PIL import Image

from fss_jax.runtime import checkpoints
from fss_jax.runtime.files import ENDING

ROOT = Path(__file__).resolve().parents[2]


def catches(pid, number):
    """Whether a process has a handler for a signal."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def stopped(arguments, number, after):
    """(exit code, stderr and stdout) of a command that gets a signal so long after it began."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    time.sleep(after)
    process.send_signal(number)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


MOMENTS = [
    (signal.SIGTERM, 0.05),
    pytest.param(signal.SIGINT, 1.0, marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, 3.0, marks=pytest.mark.slow),
    pytest.param(signal.SIGINT, 7.0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("number, after", MOMENTS)
@pytest.mark.parametrize("command", ["evaluate", "label", "prepare"])
def test_a_command_ends_in_one_line_and_leaves_nothing_half_written(
    toy_workdir, tmp_path, command, number, after
):
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(20):
        Image.fromarray(toy_pictures.square(seed)[0]).save(images / f"{seed}.png")
        for again in range(500):  # no machine labels them all before the signal comes
            os.link(images / f"{seed}.png", images / f"{seed}-{again}.png")
    support = toy_pictures.write_support(tmp_path / "square")
    records = tmp_path / "records.txt"  # a protocol's own draw is scored in three seconds
    records.write_text("1 red_0 red_2\n" * 300_000)
    words = {
        "evaluate": ["evaluate.py", f"--workdir={toy_workdir}", f"--records={records}"],
        "label": ["-m", "fss_jax", "label", f"--workdir={toy_workdir}", f"--support={support}"]
        + [f"--images={images}", f"--out={tmp_path / 'out'}"],
        "prepare": ["-m", "data_builders.prepare", "fss_glyphs", f"--data_dir={tmp_path / 'data'}"]
        + ["--config=full"],
    }[command]
    before = sorted(toy_workdir.rglob("*"))
    code, output = stopped(words, number, after)
    if code == -number and not output:
        pytest.skip("stopped before the interpreter ran a line of ours")
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number] or (
        command == "prepare" and code == 130
    ), output
    # A process pool's helper tells of semaphores that nobody closed, after the process has ended.
    output = "\n".join(
        line for line in output.splitlines()
        if "resource_tracker" not in line and "warnings.warn(" not in line
    )  # fmt: skip
    said = [line for line in output.replace("\r", "\n").splitlines() if "stopped" in line]
    # A worker that was being spawned at that moment finds its parent gone, and says so after the end.
    own = output.partition("Traceback")[0] if "spawn_main" in output else output
    assert len(said) == 1 and "Traceback" not in own, output
    assert own.strip().splitlines()[-1] == said[0].strip()
    assert sorted(toy_workdir.rglob("*")) == before
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith((ENDING, ".partial"))]
    assert not list(tmp_path.rglob("incomplete.*"))


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 2.0, None])
def test_a_training_that_is_stopped_by_sigterm_is_to_be_tried_again(toy_data, tmp_path, after):
    """75 whether it had something to save or not; None: once it has a checkpoint."""
    workdir = tmp_path / "run"
    words = ["train.py", "--config=tests/toy.py", f"--workdir={workdir}"]
    words += [f"--config.data_dir={toy_data}", "--config.steps=1000000", "--devices=1"]
    if after is not None:
        code, output = stopped(words, signal.SIGTERM, after)
        assert code == 75 and "same command" in output.strip().splitlines()[-1], output
        assert "Traceback" not in output
        return
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )  # fmt: skip
    while not checkpoints.finished_steps(workdir):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 75 and "stopped and saved at step" in output
