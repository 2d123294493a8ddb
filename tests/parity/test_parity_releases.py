"""The released OSLSM and FSS-1000 networks, from files in their own formats, end to end."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import foreign_files as foreign  # noqa: E402
import parity_tools as tools  # noqa: E402
import reference_releases as releases  # noqa: E402
import reference_torchvision as reference  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fss_jax import weights  # noqa: E402
from fss_jax.methods.backbones.vgg import VGG  # noqa: E402
from fss_jax.methods.oslsm import OSLSM  # noqa: E402
from fss_jax.methods.relation import RelationNetwork  # noqa: E402

pytestmark = pytest.mark.parity

WIDTH = 1 / 16
OUTPUTS = 24  # of fc8


def episode(shots, queries, support_size, query_size, seed=0):
    """Noise with a bright box, RGB in 0..255, and the box as mask."""
    rng = np.random.default_rng(seed)
    support = rng.uniform(0, 255, (1, shots, *support_size, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, queries, *query_size, 3)).astype(np.float32)
    mask = np.zeros(support.shape[:-1], np.float32)
    mask[..., 10:40, 5:50] = 1.0
    return support, mask, query


def tensor(array):
    """[1, n, h, w, c] or [1, n, h, w] as PyTorch's [n, c, h, w] or [n, h, w]."""
    array = np.moveaxis(array[0], -1, 1) if array.ndim == 5 else array[0]
    return torch.tensor(np.ascontiguousarray(array), requires_grad=True)


def ours(model, variables, inputs):
    """Logits, and the gradients of their squared sum in the support and the query images."""

    def loss(support, mask, query):
        logits = model.apply(variables, support, mask, query)
        return (logits**2).sum(), logits

    run = jax.jit(jax.grad(loss, argnums=(0, 2), has_aux=True), compiler_options=tools.OPTIONS)
    return run(*inputs)


def compare(model, variables, inputs, forward):
    gradients, logits = ours(model, variables, inputs)
    support, mask, query = (tensor(x) for x in inputs)
    expected = forward(support, mask, query)
    expected.square().sum().backward()
    tools.close(logits[0], expected.detach().reshape(logits[0].shape))
    clear = np.abs(logits[0]) > 1e-4 * np.abs(logits[0]).max()
    same = (np.asarray(logits[0]) > 0) == (expected.detach().numpy().reshape(clear.shape) > 0)
    assert same[clear].all() and 0.02 < (logits > 0).mean() < 0.98
    for gradient, image in zip(gradients, (support, query), strict=True):
        tools.close_in_norm(gradient[0], tools.to_nhwc(image.grad))


def test_oslsm_from_a_snapshot_gives_the_masks_of_the_release(tmp_path):
    network = tools.randomize(releases.OSLSM(WIDTH, OUTPUTS))
    network.draw_hash(torch.Generator().manual_seed(11))  # a draw with both signs in its mask
    # Images of 0..255 need smaller first weights, to keep later activations near one.
    for suffix in "fs":
        network.layers[f"conv1_1{suffix}"].weight.data /= 100
    state = {
        name: [layer.weight.detach().numpy(), layer.bias.detach().numpy()]
        for name, layer in network.layers.items()
    }
    state["uppred_offset"] = [network.uppred_offset.numpy()]
    foreign.write_caffe(tmp_path / "x.caffemodel", state)
    model = OSLSM(width=WIDTH, num_outputs=OUTPUTS, geometry="release")
    inputs = episode(2, 1, (224, 224), (61, 83))
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    variables, _ = weights.load(f"caffe:oslsm:{tmp_path}/x.caffemodel", variables)
    compare(model, variables, inputs, network)


def test_the_relation_network_gives_the_masks_of_the_release(tmp_path):
    encoder = tools.randomize(releases.CNNEncoder(WIDTH), 1)
    relation = tools.randomize(releases.RelationNetwork(WIDTH), 2)
    torch.save(
        encoder.state_dict(),
        tmp_path / "feature_encoder.pkl",
        _use_new_zipfile_serialization=False,
    )
    torch.save(relation.state_dict(), tmp_path / "relation_network.pkl")
    model = RelationNetwork(width=WIDTH, form="release")
    inputs = episode(3, 2, (64, 96), (64, 96))
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    variables, preprocessing = weights.load(f"fss1000:{tmp_path}", variables)
    assert preprocessing == model.preprocessing

    def forward(support, mask, query):
        return releases.fss1000(encoder, relation, support, mask, query)

    compare(model, variables, inputs, forward)


@pytest.mark.parametrize("version", [1, 2])
def test_vgg16_from_caffe_as_a_classifier_and_as_an_fcn(tmp_path, version):
    """The same file as a dense classifier at 224 and as FCN-32s features at an odd size."""
    network = tools.randomize(reference.VGG16(WIDTH, ceil=True))
    convs = [layer for layer in network.features if isinstance(layer, torch.nn.Conv2d)]
    blocks = enumerate((2, 2, 3, 3, 3), 1)
    names = [f"conv{block}_{n}" for block, count in blocks for n in range(1, count + 1)]
    dense = [network.classifier[n] for n in (0, 3, 6)]
    layers = dict(zip([*names, "fc6", "fc7", "fc8"], [*convs, *dense], strict=True))
    state = {
        name: [layer.weight.detach().numpy(), layer.bias.detach().numpy()]
        for name, layer in layers.items()
    }
    foreign.write_caffe(tmp_path / "x.caffemodel", state, version)
    spec = f"caffe:vgg16:{tmp_path}/x.caffemodel"
    if version == 1:
        model, x, forward = VGG(width=WIDTH), tools.image((224, 224)), network
    else:
        model, x = VGG(width=WIDTH, outputs=0, pad=100, fc6_size=7), tools.image((75, 93))

        def forward(x):
            fc6, fc7 = dense[:2]
            x = F.conv2d(x, convs[0].weight, convs[0].bias, padding=100)
            x = network.features[1:](x)
            x = F.relu(F.conv2d(x, fc6.weight.reshape(len(fc6.weight), -1, 7, 7), fc6.bias))
            return F.relu(F.conv2d(x, fc7.weight[:, :, None, None], fc7.bias))

    variables = tools.imported(model, spec, x, "fc8" if version == 2 else "")
    tools.compare(model, variables, forward, x)
