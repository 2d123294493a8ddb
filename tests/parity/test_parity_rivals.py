"""Guided Networks, PANet and CANet against PyTorch forwards of one episode, in float64.

The references follow the released code's operations (stretched features, convolutions as resampling,
one class and shot at a time), where ours use shortcuts.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import parity_tools as tools  # noqa: E402
import reference_layers  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fss_jax.methods.canet import CANet  # noqa: E402
from fss_jax.methods.guided import GuidedNetwork  # noqa: E402
from fss_jax.methods.panet import PANet  # noqa: E402

pytestmark = pytest.mark.parity

WIDTH = 1 / 16
CONVS = (2, 2, 3, 3, 3)
MEAN = torch.tensor([0.485, 0.456, 0.406]).double().view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).double().view(3, 1, 1)
CAFFE = torch.tensor([122.67891434, 116.66876762, 104.00698793]).double().view(3, 1, 1)


def episode(shots, queries, size, seed=0):
    rng = np.random.default_rng(seed)
    support = rng.uniform(0, 255, (1, shots, *size, 3)).astype(np.float32)
    query = rng.uniform(0, 255, (1, queries, *size, 3)).astype(np.float32)
    mask = np.zeros(support.shape[:-1], np.float32)
    for shot in range(shots):
        mask[0, shot, 8 + 5 * shot : 30 + 5 * shot, 5:40] = 1.0
    return tuple(map(jnp.asarray, (support, mask, query)))


def variables_of(model, inputs):
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return reference_layers.random_variables(shapes)


def tensors(inputs):
    """Support [k, 3, h, w], mask [k, h, w] and query [q, 3, h, w]."""
    support, mask, query = (torch.tensor(np.asarray(x[0], np.float64)) for x in inputs)
    return support.permute(0, 3, 1, 2), mask, query.permute(0, 3, 1, 2)


def weights(tree):
    if isinstance(tree, dict):
        return {key: weights(value) for key, value in tree.items()}
    tensor = torch.tensor(np.asarray(tree, np.float64))
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor


def conv(x, p, stride=1, dilation=1, padding=None):
    if padding is None:
        padding = p["kernel"].shape[-1] // 2 * dilation
    return F.conv2d(x, p["kernel"], p.get("bias"), stride, padding, dilation)


def run(model, variables, inputs, **fields):
    apply = functools.partial(model.apply, **fields)
    return reference_layers.compiled(apply)(variables, *inputs)


# PANet


def panet_features(params, x):
    x = (x / 255 - MEAN) / STD
    for block, count in enumerate(CONVS, 1):
        for index in range(1, count + 1):
            x = conv(x, params["encoder"][f"conv{block}_{index}"], dilation=2 if block == 5 else 1)
            if (block, index) != (5, 3):
                x = F.relu(x)
        if block < 5:
            x = F.max_pool2d(x, 3, 1 if block == 4 else 2, 1)
    return x


def panet_prototype(features, mask):
    stretched = F.interpolate(features, mask.shape[-2:], mode="bilinear", align_corners=False)
    return (stretched * mask).sum((2, 3)) / (mask.sum() + 1e-5)


def panet_distance(features, prototype):
    return 20 * F.cosine_similarity(features, prototype.view(1, -1, 1, 1), dim=1)


def panet(params, support, masks, query):
    """Scores [q, 1 + n, h, w] and alignment loss; support and masks are lists of classes."""
    size = query.shape[-2:]
    features = [panet_features(params, s) for s in support]
    query = panet_features(params, query)
    objects, backgrounds = [], []
    for way, mask in zip(features, masks, strict=True):
        shots = range(len(mask))
        objects.append(sum(panet_prototype(way[[k]], mask[k]) for k in shots) / len(mask))
        backgrounds.append(sum(panet_prototype(way[[k]], 1 - mask[k]) for k in shots) / len(mask))
    protos = [sum(backgrounds) / len(backgrounds), *objects]
    scores = torch.stack([panet_distance(query, p) for p in protos], 1)
    predicted = scores.argmax(1)
    loss = 0.0
    swapped = []
    for index in range(len(protos)):
        where = (predicted == index).double()[:, None]
        swapped.append((query * where).sum((0, 2, 3)) / (where.sum() + 1e-5))
    for n, (way, mask) in enumerate(zip(features, masks, strict=True)):
        if not (predicted == n + 1).any():
            continue
        for k in range(len(mask)):
            pair = [panet_distance(way[[k]], p) for p in (swapped[0], swapped[n + 1])]
            pair = F.interpolate(torch.stack(pair, 1), mask.shape[-2:], mode="bilinear")
            loss = loss + F.cross_entropy(pair, mask[[k]].long()) / len(mask) / len(masks)
    return F.interpolate(scores, size, mode="bilinear", align_corners=False), loss


def test_panet():
    model = PANet(width=WIDTH)
    inputs = episode(2, 2, (50, 57))
    variables = variables_of(model, inputs)
    support, mask, query = tensors(inputs)
    params = weights(variables["params"])
    scores, loss = panet(params, [support], [mask], query)
    logits, sown = run(model, variables, inputs, train=True, mutable=["losses"])
    tools.close(logits[0], scores[:, 1] - scores[:, 0])
    np.testing.assert_allclose(sown["losses"]["alignment"][0], loss, rtol=1e-4)


def test_panet_with_two_classes():
    model = PANet(width=WIDTH)
    first, second = episode(2, 1, (50, 57)), episode(2, 1, (50, 57), seed=1)
    variables = variables_of(model, first)
    support, mask = (jnp.stack([first[i], second[i]], 1) for i in (0, 1))
    inputs = (support, mask, first[2])
    fields = {"train": True, "method": "call_ways", "mutable": ["losses"]}
    found, sown = run(model, variables, inputs, **fields)
    a, b = tensors(first), tensors(second)
    scores, loss = panet(weights(variables["params"]), [a[0], b[0]], [a[1], b[1]], a[2])
    tools.close(found[0], scores)
    np.testing.assert_allclose(sown["losses"]["alignment"][0], loss, rtol=1e-4)


# CANet


def resnet(params, stats, x):
    def norm(x, p, s):
        return F.batch_norm(x, s["mean"], s["var"], p["scale"], p["bias"])

    def block(x, p, s, stride, dilation):
        y = F.relu(norm(conv(x, p["conv1"], stride), p["bn1"], s["bn1"]))
        y = F.relu(norm(conv(y, p["conv2"], 1, dilation), p["bn2"], s["bn2"]))
        y = norm(conv(y, p["conv3"]), p["bn3"], s["bn3"])
        if "downsample_conv" in p:
            x = norm(conv(x, p["downsample_conv"], stride), p["downsample_bn"], s["downsample_bn"])
        return F.relu(x + y)

    x = F.relu(norm(conv(x, params["conv1"], 2), params["bn1"], stats["bn1"]))
    x = F.max_pool2d(x, 3, 2, 1)
    outs = []
    for stage, (count, stride, dilation) in enumerate(((3, 1, 1), (4, 2, 1), (6, 1, 2)), 1):
        for index in range(count):
            name = f"layer{stage}_{index}"
            x = block(x, params[name], stats[name], stride if index == 0 else 1, dilation)
        outs.append(x)
    return torch.cat(outs[1:], 1)


def canet(variables, support, mask, query, iterations):
    """Logits [h, w] of one query."""
    params, stats = weights(variables["params"]), weights(variables["batch_stats"])
    size = query.shape[-2:]

    def encode(x):
        x = resnet(params["encoder"], stats["encoder"], (x / 255 - MEAN) / STD)
        return F.relu(conv(x, params["reduce"], dilation=2))

    query, support = encode(query), encode(support)
    mask = F.interpolate(mask[:, None], support.shape[-2:], mode="bilinear", align_corners=True)
    vectors = (mask * support).sum((2, 3), keepdim=True) / (mask.sum((2, 3), keepdim=True) + 5e-4)
    compared, weight = [], []
    for vector in vectors:
        x = torch.cat([query, vector[None].expand_as(query)], 1)
        compared.append(F.relu(conv(x, params["compare"], dilation=2)))
        y = F.max_pool2d(F.relu(conv(x, params["attention_0"])), 3, 2, 1)
        weight.append(conv(y, params["attention_1"]).mean())
    weight = torch.softmax(torch.stack(weight), 0)
    x = sum(w * c for w, c in zip(weight, compared, strict=True))

    history = torch.zeros(1, 2, *x.shape[-2:]).double()
    for _ in range(1 + iterations):
        out, inputs = x, torch.cat([x, history], 1)
        for index in range(3):
            y = conv(F.relu(inputs), params[f"residual_{index}_0"])
            out = inputs = out + conv(F.relu(y), params[f"residual_{index}_1"])
        image = F.relu(conv(out.mean((2, 3), keepdim=True), params["aspp_image"]))
        branches = [image.expand_as(out)]
        for index, rate in enumerate((1, 6, 12, 18)):
            branches.append(F.relu(conv(out, params[f"aspp_{index}"], dilation=rate)))
        scores = conv(F.relu(conv(torch.cat(branches, 1), params["aspp_merge"])), params["score"])
        history = torch.softmax(scores, 1)
    scores = F.interpolate(scores, size, mode="bilinear", align_corners=True)
    return scores[0, 1] - scores[0, 0]


@pytest.mark.parametrize("shots", [1, 3])
def test_canet(shots):
    model = CANet(width=WIDTH, iterations=2)
    inputs = episode(shots, 2, (65, 57))
    variables = variables_of(model, episode(2, 1, (65, 57)))
    logits = run(model, variables, inputs)
    support, mask, query = tensors(inputs)
    for index in range(2):
        expected = canet(variables, support, mask, query[[index]], 2)
        tools.close(logits[0, index], expected)


# Guided Networks


def tent(normalize):
    """The bilinear kernel of 64 taps of FCN-32s."""
    line = 1 - (torch.arange(64).double() - 31.5).abs() / 32
    kernel = (line[:, None] * line[None, :])[None, None]
    return kernel / kernel.sum() if normalize else kernel


def guided(params, support, annotations, query):
    """Logits [h, w] of one query; annotations are [k, 2, h, w], background and object."""

    def encode(x):
        x = (x - CAFFE).flip(1)
        for block, count in enumerate(CONVS, 1):
            for index in range(1, count + 1):
                first = (block, index) == (1, 1)
                p = params["encoder"][f"conv{block}_{index}"]
                x = F.relu(conv(x, p, padding=81 if first else 1))
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        return F.relu(conv(x, params["fc6"], padding=0))

    guides = []
    for which in range(2):
        vectors = []
        for image, annotation in zip(support, annotations[:, which], strict=True):
            if annotation.sum() == 0:
                continue
            small = F.conv2d(F.pad(annotation, (0, 31, 0, 31))[None, None], tent(True), stride=32)
            features = encode(image[None])
            assert small.shape[-2:] == features.shape[-2:]
            vectors.append((features * small / (small.sum() + 1e-6)).sum((2, 3)))
        guides.append(sum(vectors) / len(vectors))
    x = encode(query)
    scores = []
    for guide in guides:
        pair = torch.cat([x, guide[..., None, None].expand_as(x)], 1)
        score = conv(F.relu(conv(pair, params["fc7"])), params["score"])
        score = F.conv_transpose2d(score, tent(False), stride=32)
        scores.append(score[0, 0, : query.shape[2], : query.shape[3]])
    return scores[1] - scores[0]


@pytest.mark.parametrize("sparse", [False, True])
def test_guided(sparse):
    model = GuidedNetwork(width=WIDTH)
    support, mask, query = episode(3, 1, (100, 133))
    if sparse:
        points = np.full(mask.shape, -1.0, np.float32)
        points[0, 0, 20, 30] = points[0, 1, 25, 20] = 1.0
        points[0, 0, 3, 2] = points[0, 2, 90, 110] = points[0, 2, 50, 60] = 0.0
        mask = jnp.asarray(points)
    inputs = (support, mask, query)
    variables = variables_of(model, inputs)
    support, mask, query = tensors(inputs)
    annotations = torch.stack([mask == 0, mask == 1], 1).double()
    expected = guided(weights(variables["params"]), support, annotations, query)
    tools.close(run(model, variables, inputs)[0, 0], expected)
