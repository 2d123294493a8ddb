"""Backbones with imported torchvision files against PyTorch: outputs and gradients, odd sizes."""

import pytest

torch = pytest.importorskip("torch")

import parity_tools as tools  # noqa: E402
import reference_torchvision as reference  # noqa: E402
import safetensors.torch  # noqa: E402

from fss_jax.methods.backbones.alexnet import AlexNet  # noqa: E402
from fss_jax.methods.backbones.inception import InceptionV3  # noqa: E402
from fss_jax.methods.backbones.resnet import ResNet  # noqa: E402
from fss_jax.methods.backbones.squeezenet import SqueezeNet  # noqa: E402
from fss_jax.methods.backbones.vgg import VGG  # noqa: E402

pytestmark = pytest.mark.parity

WIDTH = 1 / 16
# What the last map, or the classifier, is compared for; odd sizes wherever the network takes them.
CASES = [
    ("vgg16", VGG(width=WIDTH), reference.VGG16, (224, 224), "classifier"),
    ("vgg16_bn", VGG(width=WIDTH, norm="batch", hidden=0), reference.VGG16BN, (37, 51), "trunk"),
    ("alexnet", AlexNet(width=WIDTH), reference.AlexNet, (224, 224), "classifier"),
    ("resnet50", ResNet(50, width=WIDTH), reference.ResNet50, (33, 47), "trunk"),
    ("resnet101", ResNet(101, width=WIDTH), reference.ResNet101, (33, 33), "trunk"),
    ("inception_v3", InceptionV3(width=WIDTH), reference.InceptionV3, (75, 83), "trunk"),
    ("squeezenet1_0", SqueezeNet(width=WIDTH), reference.SqueezeNet, (61, 98), "classifier"),
]
HEADS = {"vgg16_bn": "fc6,fc7,fc8", "resnet50": "fc", "resnet101": "fc", "inception_v3": "fc"}


@pytest.mark.parametrize("arch, model, network, size, part", CASES, ids=[c[0] for c in CASES])
def test_imported_weights_compute_the_same(tmp_path, arch, model, network, size, part):
    network = tools.randomize(network(WIDTH))
    torch.save(network.state_dict(), tmp_path / "x.pth")
    x = tools.image(size)
    variables = tools.imported(
        model, f"torchvision:{arch}:{tmp_path}/x.pth", x, HEADS.get(arch, "")
    )
    forward = network.features if part == "trunk" else network
    tools.compare(model, variables, forward, x, gradient=arch != "resnet101")


def test_all_containers_of_pytorch_hold_the_same(tmp_path):
    network = tools.randomize(reference.VGG16BN(WIDTH))
    state = network.state_dict()
    torch.save(state, tmp_path / "zip.pth")
    torch.save(state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": torch.nn.DataParallel(network).state_dict()}, tmp_path / "parallel.pth")
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    model, x = VGG(width=WIDTH, norm="batch"), tools.image((224, 224))
    found = [
        tools.imported(model, f"torchvision:vgg16_bn:{path}", x) for path in tmp_path.iterdir()
    ]
    assert len(found) == 4
    kernel = state["features.3.weight"].permute(2, 3, 1, 0).numpy()
    for variables in found:
        assert (variables["params"]["conv1_2"]["kernel"] == kernel).all()
        assert (
            variables["batch_stats"]["bn5_3"]["var"] == state["features.41.running_var"].numpy()
        ).all()


def test_a_module_that_is_pickled_whole_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="torch.nn.modules.linear.Linear.*state_dict"):
        tools.imported(VGG(hidden=0), f"torchvision:vgg16:{tmp_path}/x.pth", tools.image((32, 32)))
