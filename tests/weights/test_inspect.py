"""`fss weights inspect`: format, architecture, and what would load."""

import foreign_files as foreign
import numpy as np
import pytest

from fss_jax.cli import main
from fss_jax.weights import torchvision


def inspect(capsys, *arguments):
    code = 0
    try:
        main(["weights", "inspect", *map(str, arguments)])
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def squeezenet(path, skip=()):
    """torchvision's names with one-number tensors, so that only biases of no layer fit."""
    state = {
        f"{name}.bias": np.ones(1, np.float32) for name in squeezenet_layers() if name not in skip
    }
    foreign.write_torch_zip(path, state)


def squeezenet_layers():
    return list(torchvision.TABLES["squeezenet1_0"].names)


def test_it_finds_the_architecture_and_says_what_would_not_load(tmp_path, capsys):
    squeezenet(tmp_path / "x.pth", skip=["classifier.1"])
    code, out, _ = inspect(capsys, tmp_path / "x.pth")
    assert code == 0
    assert "features.0.bias  float32 1\n" in out
    assert "25 arrays, 25 numbers" in out and "torchvision:squeezenet1_0" in out
    assert "would load: 0 of 25 leaves" in out
    assert "missing: params/conv10/bias\n" in out
    assert "mis-shaped: params/conv1/bias is 1 in the file, 96 in the model\n" in out


def test_another_architecture_can_be_asked_for(tmp_path, capsys):
    squeezenet(tmp_path / "x.pth")
    code, out, _ = inspect(capsys, tmp_path / "x.pth", "--as", "resnet50")
    assert code == 0 and "read as torchvision:resnet50" in out
    assert "unexpected: params/features/3/squeeze/bias (1)" in out
    code, _, err = inspect(capsys, tmp_path / "x.pth", "--as", "resnet18")
    assert code == 2 and "choose one of" in err and err.count("\n") == 1


@pytest.mark.slow
def test_caffe_and_keras_files_are_told_by_their_layers(tmp_path, capsys):
    one = np.ones(1, np.float32)
    vgg = [
        f"conv{b}_{n}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, count + 1)
    ]
    foreign.write_caffe(tmp_path / "vgg", {name: [one[None, None, None]] for name in [*vgg, "fc6"]})
    assert "read as caffe:vgg16" in inspect(capsys, tmp_path / "vgg")[1]
    both = {name + suffix: [one[None, None, None]] for name in vgg for suffix in "fs"}
    foreign.write_caffe(tmp_path / "oslsm", both | {"rw1s": [np.zeros((4, 4))]})
    out = inspect(capsys, tmp_path / "oslsm")[1]
    assert "read as caffe:oslsm" in out and "unusable: hash/hashing/rw1s (all zero" in out
    named = [f"block{name[4]}_conv{name[6]}" for name in vgg]
    foreign.write_keras(tmp_path / "keras", {n: [("k", one[None, None, None])] for n in named})
    assert "read as keras:vgg16" in inspect(capsys, tmp_path / "keras")[1]


def test_files_that_cannot_be_used_give_one_line(tmp_path, capsys):
    foreign.write_torch_zip(tmp_path / "x.pth", {"head.weight": np.ones((2, 2), np.float32)})
    code, out, _ = inspect(capsys, tmp_path / "x.pth")
    assert code == 0 and "like no architecture" in out
    attack = foreign.named(b"os", b"system") + b"(" + foreign.text("true") + b"tR"
    foreign.write_torch_zip(tmp_path / "x.pth", {}, attack)
    for path in (tmp_path / "x.pth", tmp_path / "absent", tmp_path):
        code, out, err = inspect(capsys, path)
        assert code == 2 and not out and err.count("\n") == 1 and str(path) in err
