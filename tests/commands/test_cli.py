"""What a user can get wrong in a command ends in exit code 2 and one line that says what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = "--config=tests/toy.py"

# name -> (arguments, what the line says); {run} has a checkpoint, {data} its dataset, {tmp} is empty.
TRAIN = {
    "no workdir": ([TOY], ["--workdir"]),
    "no config": (["--workdir={tmp}/run"], ["--config"]),
    "misspelt flag": ([TOY, "--workdri={tmp}/run"], ["workdri", "workdir"]),
    "argument": ([TOY, "--workdir={tmp}/run", "runs/mine"], ["'runs/mine'", "--name=value"]),
    "no such config": (["--config=nowhere.py", "--workdir={tmp}/run"], ["nowhere.py"]),
    "misspelt setting": ([TOY, "--workdir={tmp}/run", "--config.stesp=8"], ["stesp", "steps"]),
    "misspelt field": (
        [TOY, "--workdir={tmp}/run", "--config.model.widht=1"],
        ["widht", "width"],
    ),
    "wrong type": ([TOY, "--workdir={tmp}/run", "--config.lr=fast"], ["lr", "fast", "float"]),
    "no dataset": (
        [TOY, "--workdir={tmp}/run", "--config.data_dir={tmp}/data"],
        ["'toy_squares'", "{tmp}/data", "fss prepare toy_squares"],
    ),
    "too many devices": ([TOY, "--workdir={tmp}/run", "--devices=9"], ["9 devices", "has 4"]),
    "unknown method": (
        [TOY, "--workdir={tmp}/run", "--config.data_dir={data}", "--config.method=oslm"],
        ["'oslm'", "did you mean 'oslsm'?"],
    ),
    "impossible model": (
        [TOY, "--workdir={tmp}/run", "--config.data_dir={data}", "--config.model.geometry=release"],
        ["a stride of 32 pixels", "choose"],
    ),
    "unknown protocol": (
        [TOY, "--workdir={tmp}/run", "--config.protocol=oslsm"],
        ["'oslsm'", "oslsm_release"],
    ),
    "workdir is a file": (
        [TOY, "--workdir=setup.cfg", "--config.data_dir={data}"],
        ["setup.cfg"],
    ),
}
EVALUATE = {
    "no workdir": ([], ["--workdir"]),
    "empty workdir": (["--workdir={tmp}/run"], ["{tmp}/run", "fss train"]),
    "misspelt flag": (["--workdir={run}", "--shot=1"], ["shot"]),
    "no shots": (["--workdir={run}", "--shots=0"], ["--shots", "expected 1 or more"]),
    "no episodes": (["--workdir={run}", "--episodes=-3"], ["--episodes", "expected 1 or more"]),
    "words for numbers": (["--workdir={run}", "--shots=one"], ["shots", "one"]),
    "unknown protocol": (["--workdir={run}", "--protocol=unifrom"], ["did you mean 'uniform'?"]),
    "unknown checkpoint": (["--workdir={run}", "--checkpoint=last"], ["'last'", "steps 0"]),
    "no record file": (["--workdir={run}", "--records={tmp}/list.txt"], ["{tmp}/list.txt"]),
    "no records in it": (
        ["--workdir={run}", "--records=setup.cfg"],
        ["record line 1", "[metadata]", "CLASS QUERY SUPPORT"],
    ),
    "no such dataset": (
        ["--workdir={run}", "--dataset=pascal_5i/fold1"],
        ["found: toy_squares", "fss prepare pascal_5i/fold1"],
    ),
    "items too small": (
        ["--workdir={run}", "--protocol=oslsm_release"],
        ["no items to draw episodes from", "filter"],
    ),
}
FSS = {
    "misspelt command": (["labl"], ["'labl'", "did you mean label?"]),
    "misspelt study": (["study", "clikcs"], ["'clikcs'", "did you mean clicks?"]),
    "no study": (["study"], ["name"]),
    "misspelt config": (["models", "--config=quickstrat"], ["did you mean", "quickstart"]),
    "settings of nothing": (["models", "--config.lr=1"], ["--config.lr", "add --config"]),
    "inside a number": (["models", TOY, "--config.lr.x=1"], ["config.lr has no settings"]),
    "no number": (["models", TOY, "--config.steps=1e3"], ["config.steps=1e3", "int"]),
    "neither true nor false": (["models", TOY, "--config.remat=maybe"], ["true or false"]),
    "no tuple": (["models", TOY, "--config.tenth_at=(1,"], ["config.tenth_at", "(1, 2)"]),
    "two inits": (
        ["train", TOY, "--workdir={tmp}/run", "--init=workdir:a", "--init_from=b"],
        ["--init and --init_from"],
    ),
    "no experiment": (["experiments", "fss_tabel5"], ["did you mean 'fss_table5'?"]),
    "no pictures": (
        ["label", "--support={tmp}/five", "--images={tmp}/photos", "--out={tmp}/out"],
        ["{tmp}/five"],
    ),
    "no weights": (["weights", "inspect", "{tmp}/x.pth"], ["{tmp}/x.pth"]),
    "no dataset to prepare": (["prepare", "fss_glyph/tiny"], ["did you mean 'fss_glyphs'?"]),
    "nothing prepared": (["datasets", "--data_dir={tmp}/data"], ["{tmp}/data"]),
    "no shell": (["completion", "fish"], ["fish", "zsh"]),
}
CASES = [("train.py", name, *case) for name, case in TRAIN.items()]
CASES += [("evaluate.py", name, *case) for name, case in EVALUATE.items()]
CASES += [("fss_jax/__main__.py", name, *case) for name, case in FSS.items()]


@pytest.fixture(scope="module")
def places(toy_workdir, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("cli")
    return {"run": toy_workdir, "data": toy_workdir.parent / "data", "tmp": tmp}


@pytest.fixture(scope="module")
def outcomes(places):
    """(script, name) -> exit code, stdout, stderr; and a training that diverges."""
    before = sorted(places["run"].rglob("*"))
    lines = [[script, *(a.format(**places) for a in case)] for script, _, case, _ in CASES]
    diverging = [TOY, "--workdir={tmp}/diverged", "--config.data_dir={data}", "--config.lr=1e30"]
    lines.append(["train.py", *(a.format(**places) for a in diverging), "--devices=1"])
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/references")))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/forked.py"],
        cwd=ROOT,
        input=json.dumps(lines),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(places["run"].rglob("*")) == before
    keys = [*((script, name) for script, name, _, _ in CASES), "diverging"]
    return dict(zip(keys, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("script, name, said", [(s, n, said) for s, n, _, said in CASES])
def test_mistakes_are_told_in_a_line(outcomes, places, script, name, said):
    code, out, err = outcomes[script, name]
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err and not out
    for words in said:
        assert words.format(**places) in err


def test_mistakes_leave_nothing_behind(outcomes, places):
    assert [path.name for path in places["tmp"].iterdir()] == ["diverged"]
    assert (ROOT / "setup.cfg").is_file()


def test_divergence_exits_with_2_and_its_records(outcomes, places):
    code, _, err = outcomes["diverging"]
    assert code == 2, err
    last = err.splitlines()[-1]
    assert "error: the loss became" in last and "its records are positions" in last
    assert "Traceback" not in err
    assert not any(path.name.isdigit() for path in (places["tmp"] / "diverged").rglob("*"))
