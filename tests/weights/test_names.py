"""Name tables and importers: every layer of every architecture has its place, and only there."""

import functools

import foreign_files as foreign
import jax
import numpy as np
import pytest
from flax import traverse_util

from fss_jax import weights
from fss_jax.configs.relation import resnet101
from fss_jax.data import imaging
from fss_jax.methods.backbones.alexnet import AlexNet
from fss_jax.methods.backbones.inception import InceptionV3
from fss_jax.methods.backbones.resnet import ResNet
from fss_jax.methods.backbones.squeezenet import SqueezeNet
from fss_jax.methods.backbones.vgg import VGG
from fss_jax.methods.oslsm import OSLSM
from fss_jax.methods.relation import RelationNetwork
from fss_jax.weights import caffe, fss1000, keras, layouts, torchvision

MODELS = {
    "vgg16": VGG(),
    "vgg16_bn": VGG(norm="batch"),
    "alexnet": AlexNet(),
    "resnet50": ResNet(50),
    "resnet101": ResNet(101),
    "inception_v3": InceptionV3(),
    "squeezenet1_0": SqueezeNet(),
}
# Published totals with the classifier of 1000 classes; InceptionV3 without its second classifier.
PARAMETERS = {
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "alexnet": 61_100_840,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "inception_v3": 23_834_568,
    "squeezenet1_0": 1_248_424,
}
HEADS = {"resnet50": 2_049_000, "resnet101": 2_049_000, "inception_v3": 2_049_000}


def shapes(model, *inputs):
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)


def layers(variables):
    return {path.rpartition("/")[0] for path in traverse_util.flatten_dict(variables, sep="/")}


@pytest.mark.slow
@pytest.mark.parametrize("arch", MODELS)
def test_a_table_names_each_layer_of_its_architecture_once(arch):
    variables = shapes(MODELS[arch], np.zeros((1, 224, 224, 3), np.float32))
    names = torchvision.TABLES[arch].names
    assert len(set(names.values())) == len(names)
    assert set(names.values()) - {"fc"} == layers(variables["params"])
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + HEADS.get(arch, 0) == PARAMETERS[arch]


def test_every_table_states_a_known_preprocessing():
    tables = *torchvision.TABLES.values(), *keras.TABLES.values()
    assert {table.preprocessing for table in tables} <= set(imaging.PREPROCESSING)


def test_the_release_of_fss_1000_has_each_layer_once():
    image = np.zeros((1, 1, 224, 224, 3), np.float32)
    variables = shapes(RelationNetwork(), image, image[..., 0], image)
    tables = fss1000.encoder_names(), fss1000.relation_names()
    targets = [name for table in tables for name in table.values()]
    assert len(set(targets)) == len(targets) and set(targets) == layers(variables["params"])
    # protocols.md B.1: the shifted keys.
    convs = [2, 6, 9, 13, 16, 19, 23, 26, 29, 33, 36, 39]
    norms = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
    found = {int(k.split(".")[1]): v for k, v in tables[0].items() if k.startswith("features")}
    assert [n for n, layer in found.items() if "conv" in layer] == convs
    assert [n for n, layer in found.items() if "bn" in layer] == norms


def test_dense_layers_after_a_map_are_reordered_to_height_width_channel():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 3 * 2 * 2)).astype(np.float32)
    image = rng.standard_normal((3, 2, 2)).astype(np.float32)  # channel, row, column
    kernel = layouts.dense_kernel(weight, 2)
    assert kernel.shape == (2, 2, 3, 5)
    ours = np.tensordot(image.transpose(1, 2, 0), kernel, 3)
    np.testing.assert_allclose(ours, weight @ image.ravel(), rtol=1e-5)


@functools.cache
def _tiny_shapes():
    image = np.zeros((1, 1, 224, 224, 3), np.float32)
    return shapes(OSLSM(width=1 / 64, hidden=512, num_outputs=8), image, image[..., 0], image)


@functools.cache
def _tiny_backbone():
    model = VGG(width=1 / 64, hidden=512, outputs=8)
    return shapes(model, np.zeros((1, 224, 224, 3), np.float32))["params"]


def oslsm_file(path, seed=0, **changes):
    """A snapshot of a tiny OSLSM as Caffe would write it; returns its layers."""
    rng = np.random.default_rng(seed)
    found = {}
    for branch, suffix in (("conditioning", "f"), ("segmentation", "s")):
        tree = _tiny_shapes()["params"][branch]
        for name, leaves in tree.items():
            h, w, inputs, out = leaves["kernel"].shape
            dense = suffix == "f" and name.startswith("fc")
            shape = (out, inputs * h * w) if dense else (out, inputs, h, w)
            found[name + suffix] = [rng.standard_normal(shape), rng.standard_normal(out)]
    for name, out in (("rw1s", 8), ("rb1s", 1)):
        matrix = np.zeros((out, 8))
        matrix[np.arange(out), rng.integers(8, size=out)] = rng.choice([-1, 1], out)
        found[name] = [matrix, np.zeros(out)]
    line = 1 - np.abs(np.arange(64) - 31.5) / 32
    found["uppred_offset"] = [np.outer(line, line)[None, None]]
    found |= changes
    foreign.write_caffe(path, found)
    return found


@pytest.fixture(scope="module")
def tiny():
    """Its variables, all 7."""
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), _tiny_shapes())


def test_a_snapshot_of_oslsm_loads_whole(tmp_path, tiny):
    found = oslsm_file(tmp_path / "x.caffemodel")
    loaded, preprocessing = weights.load(f"caffe:oslsm:{tmp_path}/x.caffemodel", tiny)
    assert preprocessing == "caffe" and preprocessing in imaging.PREPROCESSING
    for name in ("rw1s", "rb1s"):
        table = loaded["hash"]["hashing"][name]
        x = np.arange(1.0, 9.0)
        np.testing.assert_array_equal(table["zeta"] * x[table["kappa"]], found[name][0] @ x)
    kernel = loaded["params"]["segmentation"]["conv3_2"]["kernel"]
    np.testing.assert_array_equal(
        kernel, found["conv3_2s"][0].transpose(2, 3, 1, 0).astype(np.float32)
    )
    for new, old in zip(jax.tree.leaves(loaded), jax.tree.leaves(tiny), strict=True):
        assert new.shape == old.shape and new.dtype == old.dtype and not np.all(new == 7)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rw1s": [np.zeros((8, 8))]}, ["hash/hashing/rw1s", "all zero", "hash"]),
        ({"rw1s": [np.eye(8) * 2]}, ["hash/hashing/rw1s", "8 of 8 rows"]),
        ({"rb1s": [np.ones((1, 8))]}, ["hash/hashing/rb1s", "1 of 1 rows"]),
        ({"rb1s": [np.eye(1, 8), np.ones(1)]}, ["hash/hashing/rb1s", "bias"]),
        ({"uppred_offset": [np.ones((1, 1, 64, 64))]}, ["uppred_offset", "bilinear"]),
    ],
)
def test_a_wrong_hash_or_upsampling_is_named_and_can_be_skipped(tmp_path, tiny, changes, words):
    oslsm_file(tmp_path / "x", **changes)
    with pytest.raises(ValueError) as error:
        weights.load(f"caffe:oslsm:{tmp_path}/x", tiny)
    for word in words:
        assert word in str(error.value)
    assert "missing" not in str(error.value)
    layer = next(iter(changes))
    loaded, _ = weights.load(f"caffe:oslsm:{tmp_path}/x", tiny, skip=layer)
    if layer != "uppred_offset":
        assert np.all(loaded["hash"]["hashing"][layer]["zeta"] == 7)


def backbone_file(path, *, dtype=np.float32, **changes):
    """torchvision's vgg16 at the tiny width, classifier included."""
    rng = np.random.default_rng(1)
    tree = _tiny_backbone()
    state = {}
    for source, name in torchvision.TABLES["vgg16"].names.items():
        h, w, inputs, out = tree[name]["kernel"].shape
        shape = (out, h * w * inputs) if name.startswith("fc") else (out, inputs, h, w)
        state[f"{source}.weight"] = rng.standard_normal(shape).astype(dtype)
        state[f"{source}.bias"] = rng.standard_normal(out).astype(dtype)
    state = {name: array for name, array in (state | changes).items() if array is not None}
    foreign.write_torch_zip(path, state)
    return state


def test_a_backbone_goes_into_both_branches_and_nowhere_else(tmp_path, tiny):
    state = backbone_file(tmp_path / "x.pth", dtype=np.float16)
    loaded, preprocessing = weights.load(f"torchvision:vgg16:{tmp_path}/x.pth", tiny)
    assert preprocessing == "torchvision"
    for branch in loaded["params"].values():
        np.testing.assert_array_equal(
            branch["conv2_1"]["kernel"], state["features.5.weight"].transpose(2, 3, 1, 0)
        )
        assert branch["conv2_1"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(
        loaded["params"]["conditioning"]["fc8"]["bias"], state["classifier.6.bias"]
    )
    assert all(np.all(leaf == 7) for leaf in jax.tree.leaves(loaded["hash"]))


def test_one_error_names_everything_that_does_not_fit(tmp_path, tiny):
    changes = {
        "features.0.bias": None,
        "features.2.weight": np.zeros((4, 4, 3, 3), np.float32),
        "extra.weight": np.zeros((2, 2), np.float32),
        "features.5.bias": np.full(8, np.nan, np.float32),
    }
    backbone_file(tmp_path / "x.pth", **changes)
    spec = f"torchvision:vgg16:{tmp_path}/x.pth"
    with pytest.raises(ValueError) as error:
        weights.load(spec, tiny)
    message = str(error.value)
    assert "\n" not in message and spec in message
    missing, unexpected, shaped, finite = (
        message.split(f"{kind}: ")[1].split(". ")[0]
        for kind in ("missing", "unexpected", "mis-shaped", "not finite")
    )
    branches = ("conditioning", "segmentation")
    assert missing == "; ".join(f"params/{b}/conv1_1/bias" for b in branches)
    assert unexpected == "params/extra/kernel (1x1x2x2)"
    for branch in branches:
        found = f"params/{branch}/conv1_2/kernel is 3x3x4x4 in the file, 3x3x8x8 in the model"
        assert found in shaped
    assert finite == "params/conv2_1/bias"
    loaded, _ = weights.load(spec, tiny, skip="conv1_1, extra,conv1_2/kernel,conv2_1/bias")
    branch = loaded["params"]["segmentation"]
    for layer, leaf in (("conv1_1", "kernel"), ("conv1_2", "kernel"), ("conv2_1", "bias")):
        assert np.all(branch[layer][leaf] == 7)
    assert not np.any(branch["conv1_2"]["bias"] == 7)


def test_imagenet_leaves_the_four_channel_convolution_fresh_as_in_the_release(tmp_path):
    image = np.zeros((1, 1, 32, 32, 3), np.float32)
    variables = shapes(RelationNetwork(width=1 / 64), image, image[..., 0], image)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), variables)
    state = {}
    for source, name in torchvision.TABLES["vgg16_bn"].names.items():
        if name.startswith("fc"):
            state[f"{source}.weight"] = np.zeros((2, 2), np.float32)
            continue
        channels = variables["params"]["encoder"][name]["bias"].shape
        leaves = {"weight", "bias", "running_mean", "running_var"}
        if name.startswith("conv"):
            leaves = {"bias"}
            shape = variables["params"]["encoder"][name]["kernel"].shape[::-1]
            shape = (*shape[:1], 3, *shape[2:]) if name == "conv1_1" else shape
            state[f"{source}.weight"] = np.ones(shape, np.float32)
        state |= {f"{source}.{leaf}": np.ones(channels, np.float32) for leaf in leaves}
    foreign.write_torch_zip(tmp_path / "x.pth", state)
    spec = f"torchvision:vgg16_bn:{tmp_path}/x.pth"
    with pytest.raises(ValueError, match="conv1_1/kernel is 3x3x3x8 in the file, 3x3x4x8"):
        weights.load(spec, variables)
    loaded, _ = weights.load(spec, variables, skip="conv1_1,fc6,fc7,fc8")
    fresh = loaded["params"].pop("encoder")
    assert all(np.all(leaf == 7) for leaf in jax.tree.leaves([loaded["params"], fresh["conv1_1"]]))
    del fresh["conv1_1"]
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(fresh))
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(loaded["batch_stats"]["encoder"]))


def test_skip_must_name_something_and_can_name_one_branch(tmp_path, tiny):
    backbone_file(tmp_path / "x.pth")
    spec = f"torchvision:vgg16:{tmp_path}/x.pth"
    with pytest.raises(ValueError, match="skipped but not there: conv6_1"):
        weights.load(spec, tiny, skip=["conv6_1"])
    loaded, _ = weights.load(spec, tiny, skip=["conditioning"])
    assert all(np.all(leaf == 7) for leaf in jax.tree.leaves(loaded["params"]["conditioning"]))
    assert not np.any(loaded["params"]["segmentation"]["fc7"]["bias"] == 7)


def test_the_wrong_architecture_is_refused_in_one_line(tmp_path, tiny):
    backbone_file(tmp_path / "x.pth")
    with pytest.raises(ValueError, match="unexpected: params/features/2/kernel"):
        weights.load(f"torchvision:vgg16_bn:{tmp_path}/x.pth", tiny)
    with pytest.raises(ValueError, match="no place: the file has conv1, layer1_0"):
        weights.load(f"torchvision:resnet50:{tmp_path}/x.pth", tiny)


@pytest.mark.parametrize(
    "spec, words",
    [
        ("vgg16", "expected one of caffe:ARCH"),
        ("torch:vgg16:/x", "expected one of"),
        ("fss1000:", "expected one of"),
        ("torchvision:vgg19:/x", "choose one of vgg16, "),
        ("caffe:vgg19:/x", "choose one of vgg16, "),
        ("keras:vgg19:/x", "choose one of vgg16, "),
        ("caffe:oslsm", "no official address"),
    ],
)
def test_specs_that_are_none(tiny, spec, words):
    with pytest.raises(ValueError, match=words):
        weights.load(spec, tiny)


@pytest.mark.parametrize("version", [1, 2])
def test_caffe_s_alexnet_has_each_layer_once_and_fits_no_other(tmp_path, version):
    image = np.zeros((1, 224, 224, 3), np.float32)
    small = {"width": 1 / 64, "hidden": 512, "outputs": 7}
    model = shapes(AlexNet(caffe=True, **small), image)
    rng, found = np.random.default_rng(0), {}
    for name in caffe.layers("alexnet"):
        h, w, inputs, out = model["params"][name]["kernel"].shape
        dense = name.startswith("fc")
        shape = (out, inputs * h * w) if dense else (out, inputs, h, w)
        if dense and version == 1:
            shape = (1, 1, *shape)
        found[name] = [rng.standard_normal(shape), rng.standard_normal(out)]
    foreign.write_caffe(tmp_path / "x", found, version)
    loaded, preprocessing = weights.load(f"caffe:alexnet:{tmp_path}/x", model)
    assert preprocessing == "caffe"
    weight = found["fc6"][0].reshape(-1, 16, 6, 6)  # output, channel, row, column
    np.testing.assert_allclose(
        loaded["params"]["fc6"]["kernel"], weight.transpose(2, 3, 1, 0), rtol=1e-6
    )
    assert loaded["params"]["conv2"]["kernel"].shape == (5, 5, 8, 16)  # of two groups
    with pytest.raises(ValueError, match="mis-shaped: .*params/conv2/kernel is 5x5x8x16"):
        weights.load(f"caffe:alexnet:{tmp_path}/x", shapes(AlexNet(**small), image))


def test_weights_that_are_not_there_are_told_before_they_are_read(tmp_path):
    (tmp_path / "x").touch()
    for spec in ("", "caffe:alexnet", f"caffe:alexnet:{tmp_path}/x", "hub:some/name"):
        assert not weights.absent(spec), spec
    assert weights.absent(f"caffe:alexnet:{tmp_path}/y") == f"{tmp_path}/y is not there"
    assert weights.absent(f"dino:{tmp_path}/y") == f"{tmp_path}/y is not there"
    assert weights.absent(f"workdir:{tmp_path}") == f"{tmp_path} holds no training"


def test_weights_at_hand_load_into_squeezenet(shared):
    variables = shapes(SqueezeNet(), np.zeros((1, 224, 224, 3), np.float32))
    spec = f"torchvision:squeezenet1_0:{shared}/weights/squeezenet1_0.safetensors"
    loaded, preprocessing = weights.load(spec, variables)
    assert preprocessing == "torchvision"
    assert sum(leaf.size for leaf in jax.tree.leaves(loaded)) == 1_248_424


@pytest.mark.parametrize("source", ["torchvision", "keras"])
def test_weights_for_another_build_of_the_backbone_are_refused(source):
    config = resnet101.get_config()
    config.init = {"torchvision": "keras", "keras": "torchvision"}[source] + ":resnet101:FILE"
    config.model.source = source
    with pytest.raises(ValueError, match=f"built for {source}'s: set config.model.source="):
        weights.start(config, {})
