"""Backbones with imported Keras files against PyTorch networks built as Keras builds them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import foreign_files as foreign  # noqa: E402
import parity_tools as tools  # noqa: E402
import reference_torchvision as reference  # noqa: E402

from fss_jax.methods.backbones.inception import InceptionV3  # noqa: E402
from fss_jax.methods.backbones.resnet import ResNet  # noqa: E402
from fss_jax.methods.backbones.vgg import VGG  # noqa: E402

pytestmark = pytest.mark.parity

WIDTH = 1 / 16


def arrays(layer, scale=True):
    """A PyTorch layer's numbers as Keras writes them."""
    if isinstance(layer, torch.nn.BatchNorm2d):
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
        found = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
        pairs = list(zip(names, found, strict=True))[0 if scale else 1 :]
    else:
        order = (2, 3, 1, 0) if layer.weight.ndim == 4 else (1, 0)
        pairs = [("kernel", layer.weight.permute(order))]
        if layer.bias is not None:
            pairs.append(("bias", layer.bias))
    return [(f"{name}:0", value.detach().numpy()) for name, value in pairs]


def test_vgg16_with_its_top(tmp_path):
    network = tools.randomize(reference.VGG16(WIDTH))
    convs = [layer for layer in network.features if isinstance(layer, torch.nn.Conv2d)]
    names = [f"block{b}_conv{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)]
    layers = {name: arrays(conv) for name, conv in zip(names, convs, strict=True)}
    fc1, fc2, top = (network.classifier[n] for n in (0, 3, 6))
    # Keras flattens a map as (row, column, channel).
    flat = fc1.weight.detach().reshape(len(fc1.weight), -1, 7, 7).permute(2, 3, 1, 0)
    layers["fc1"] = [("W:0", flat.reshape(-1, len(fc1.weight)).numpy()), arrays(fc1)[1]]
    layers |= {"fc2": arrays(fc2), "predictions": arrays(top)}
    foreign.write_keras(tmp_path / "x.h5", layers)
    model, x = VGG(width=WIDTH), tools.image((224, 224))
    variables = tools.imported(model, f"keras:vgg16:{tmp_path}/x.h5", x)
    tools.compare(model, variables, network, x)


def test_resnet50_with_its_biases_epsilon_and_stride(tmp_path):
    network = tools.randomize(reference.ResNet50(WIDTH, keras=True))
    layers = {"conv1_conv": arrays(network.conv1), "conv1_bn": arrays(network.bn1)}
    for stage in range(1, 5):
        for number, block in enumerate(getattr(network, f"layer{stage}"), start=1):
            name = f"conv{stage + 1}_block{number}"
            for n in (1, 2, 3):
                layers[f"{name}_{n}_conv"] = arrays(getattr(block, f"conv{n}"))
                layers[f"{name}_{n}_bn"] = arrays(getattr(block, f"bn{n}"))
            if block.downsample:
                layers[f"{name}_0_conv"] = arrays(block.downsample[0])
                layers[f"{name}_0_bn"] = arrays(block.downsample[1])
    foreign.write_keras(tmp_path / "x.h5", layers)  # without its top
    model, x = ResNet(50, width=WIDTH, stride_first=True), tools.image((33, 47))
    variables = tools.imported(model, f"keras:resnet50:{tmp_path}/x.h5", x)
    tools.compare(model, variables, network.features, x, gradient=False)


def test_inception_v3_in_any_order_without_scales(tmp_path):
    network = tools.randomize(reference.InceptionV3(WIDTH, count_border=False))
    units = [m for m in network.modules() if isinstance(m, reference.ConvNorm)]
    layers = {}
    for number, unit in enumerate(units):
        unit.bn.weight.data.fill_(1.0)
        suffix = f"_{number}" if number else ""  # as the first model of a session is numbered
        layers[f"batch_normalization{suffix}"] = arrays(unit.bn, scale=False)
        layers[f"conv2d{suffix}"] = arrays(unit.conv)
    layers["predictions"] = arrays(network.fc)
    # Keras lists layers by depth, not as they were made.
    order = np.random.default_rng(0).permutation(list(layers))
    foreign.write_keras(tmp_path / "x.h5", {name: layers[name] for name in order.tolist()})
    model, x = InceptionV3(width=WIDTH, count_border=False), tools.image((75, 83))
    variables = tools.imported(model, f"keras:inception_v3:{tmp_path}/x.h5", x, "fc")
    tools.compare(model, variables, network.features, x, gradient=False)
