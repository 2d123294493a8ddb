"""OSLSM in float64 numpy, from protocols.md A.4 to A.7: a second reading of the design, for tests.

Where fss_jax gathers, multiplies by constant matrices or pads with a formula, this scatters, loops
over cells and uses the published numbers.
"""

import numpy as np
from reference_layers import conv, norm, relu

MEAN_BGR = np.array([104.00698793, 116.66876762, 122.67891434])
PAD = {"release": 121, "paper": 100}
CROP = {"release": 40, "paper": 19}


def ceil_pool(x):
    """Caffe's 2x2 pooling: a last window may hang over the edge."""
    n, h, w, c = x.shape
    out = np.zeros((n, -(-h // 2), -(-w // 2), c))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return out


def vgg(x, params, stats=None, *, pad=1, stride=32):
    """Up to the last layer that `params` has. conv<block>_<index>, in the blocks that are there."""
    layers = sorted(name for name in params if name.startswith("conv"))
    reached = dilation = 1
    for name in layers:
        padding = pad if name == "conv1_1" else dilation
        x = conv(x, params[name], dilation=dilation, padding=padding)
        bn = name.replace("conv", "bn")
        if bn in params:
            x = norm(x, params[bn], stats[bn])
        x = relu(x)
        if name == layers[-1] or layers[layers.index(name) + 1][4] != name[4]:  # its block's last
            if reached < stride:
                x, reached = ceil_pool(x), 2 * reached
            else:
                dilation *= 2
    same = dilation * (params["fc6"]["kernel"].shape[0] // 2) if dilation > 1 else 0
    x = relu(conv(x, params["fc6"], dilation=dilation, padding=same))
    x = relu(x @ params["fc7"]["kernel"][0, 0] + params["fc7"]["bias"])
    if "fc8" in params:
        x = x @ params["fc8"]["kernel"][0, 0] + params["fc8"]["bias"]
    return x


def hash_matrix(tables, inputs):
    """[outputs, inputs], one 1 or -1 in each row: the release's frozen InnerProduct layer."""
    matrix = np.zeros((len(tables["kappa"]), inputs))
    for row, (kappa, zeta) in enumerate(zip(tables["kappa"], tables["zeta"], strict=True)):
        matrix[row, kappa] = zeta
    return matrix


def deconvolution(score):
    """[h, w] -> [32 h + 32, 32 w + 32]: every cell adds its scaled 64x64 bilinear kernel."""
    tent = 1 - np.abs(np.arange(64) - 31.5) / 32
    out = np.zeros((32 * score.shape[0] + 32, 32 * score.shape[1] + 32))
    for i in range(score.shape[0]):
        for j in range(score.shape[1]):
            out[32 * i : 32 * i + 64, 32 * j : 32 * j + 64] += score[i, j] * np.outer(tent, tent)
    return out


def stretch(score, stride, height, width):
    """[h, w] -> [height, width]: half-pixel bilinear by a factor, edges repeated."""
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            i = np.clip((y + 0.5) / stride - 0.5, 0, score.shape[0] - 1)
            j = np.clip((x + 0.5) / stride - 0.5, 0, score.shape[1] - 1)
            top, left = int(i), int(j)
            down, right = min(top + 1, score.shape[0] - 1), min(left + 1, score.shape[1] - 1)
            a, b = i - top, j - left
            above = (1 - b) * score[top, left] + b * score[top, right]
            below = (1 - b) * score[down, left] + b * score[down, right]
            out[y, x] = (1 - a) * above + a * below
    return out


def normalize(image, centered):
    return (image - 127.5) / 63.75 if centered else image[..., ::-1] - MEAN_BGR


def oslsm(params, tables, support, mask, query, *, geometry, stats=None, small=False):
    """Logits [B, Q, H, W]. `small`: the form for training from scratch (centered, scaled logits)."""
    stats = stats or {"conditioning": None, "segmentation": None}
    shots = support.shape[1]
    height, width = query.shape[2:4]
    logits = np.zeros(query.shape[:4])
    for b in range(len(support)):
        theta = []
        for k in range(shots):
            x = normalize(support[b, k], small) * mask[b, k][..., None]
            fc8 = vgg(x[None], params["conditioning"], stats["conditioning"])[0, 0, 0]
            if "theta" in tables:
                theta.append(hash_matrix(tables["theta"], len(fc8)) @ fc8)
            else:
                rows = [hash_matrix(tables[name], len(fc8)) @ fc8 for name in ("rw1s", "rb1s")]
                theta.append(np.concatenate(rows))
        for q in range(query.shape[1]):
            x = normalize(query[b, q], small)[None]
            if geometry in PAD:
                x = vgg(x, params["segmentation"], stats["segmentation"], pad=PAD[geometry])[0]
            else:
                stride = int(geometry.removeprefix("dilated"))
                x = vgg(x, params["segmentation"], stats["segmentation"], stride=stride)[0]
            masks = []
            for row in theta:
                score = x @ row[:-1] + row[-1]
                if small:
                    score = score / np.sqrt(x.shape[-1])
                if geometry in PAD:
                    c = CROP[geometry]
                    masks.append(deconvolution(score)[c : c + height, c : c + width])
                else:
                    masks.append(stretch(score, stride, height, width))
            logits[b, q] = np.max(masks, axis=0)
    return logits
