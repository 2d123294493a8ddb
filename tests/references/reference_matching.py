"""HSNet and SSP as PyTorch forwards of one episode in float64, from the papers and the releases' facts.

Loops and boolean indexing where ours mask; 4-D convolutions as PyTorch's 2-D ones over either pair of
axes. Parameters are the flax trees of our networks, as tensors (kernels [out, in, h, w]).
"""

import torch
from torch.nn import functional as F


def conv(x, p, stride=1, dilation=1):
    return F.conv2d(
        x, p["kernel"], p.get("bias"), stride, p["kernel"].shape[-1] // 2 * dilation, dilation
    )


def vgg(params, x, *, dense):
    """Maps before each ReLU by 'linear4_1', and 'pool5'. `dense`: stride 8, the last block dilated."""
    maps = {}
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for index in range(1, count + 1):
            # Of the blocks after a pooling that was removed, each is dilated once more.
            dilation = {4: 1, 5: 2}.get(block, 1) if dense else 1
            x = maps[f"linear{block}_{index}"] = conv(
                x, params[f"conv{block}_{index}"], dilation=dilation
            )
            x = F.relu(x)
        if block < 4 or not dense:
            x = F.max_pool2d(x, 2)
        maps[f"pool{block}"] = x
    return maps


# HSNet


def center_pivot(x, p, stride):
    """[c, ha, wa, hb, wb]: over the query's axes for each kept cell of the support, and vice versa."""
    c, ha, wa, hb, wb = x.shape
    kept = x[:, :, :, ::stride, ::stride]
    hk, wk = kept.shape[3:]
    first = conv(kept.permute(3, 4, 0, 1, 2).reshape(hk * wk, c, ha, wa), p["conv1"])
    first = first.reshape(hk, wk, -1, ha, wa).permute(2, 3, 4, 0, 1)
    second = conv(x.permute(1, 2, 0, 3, 4).reshape(ha * wa, c, hb, wb), p["conv2"], stride)
    second = second.reshape(ha, wa, -1, hk, wk).permute(2, 0, 1, 3, 4)
    return first + second


def block(x, p, strides):
    for number, stride in enumerate(strides):
        x = center_pivot(x, p[f"conv{number}"], stride)
        norm = p[f"norm{number}"]
        x = F.relu(F.group_norm(x[None], 4, norm["scale"], norm["bias"], 1e-5)[0])
    return x


def over_query(x, size):
    c, ha, wa, hb, wb = x.shape
    x = x.permute(3, 4, 0, 1, 2).reshape(hb * wb, c, ha, wa)
    x = F.interpolate(x, size, mode="bilinear", align_corners=True)
    return x.reshape(hb, wb, c, *size).permute(2, 3, 4, 0, 1)


def hsnet_one(params, groups, support, mask, query):
    """Scores [2, h, w] of one query under one support: images [3, h, w], normalized."""
    size = query.shape[-2:]
    query, support = (vgg(params["encoder"], x[None], dense=False) for x in (query, support))
    levels = []
    for names in groups:
        stack = []
        for name in names:
            a, b = query[name][0], support[name][0]
            b = (
                b
                * F.interpolate(
                    mask[None, None], b.shape[-2:], mode="bilinear", align_corners=True
                )[0]
            )
            a, b = (x / (x.norm(dim=0, keepdim=True) + 1e-5) for x in (a, b))
            product = (a.flatten(1).T @ b.flatten(1)).clamp(min=0)
            stack.append(product.reshape(*a.shape[1:], *b.shape[1:]))
        levels.append(torch.stack(stack))
    p = params["learner"]
    fine, middle, coarse = levels
    coarse = block(coarse, p["encoder_layer4"], (2, 2, 2))
    middle = block(middle, p["encoder_layer3"], (4, 2, 2))
    fine = block(fine, p["encoder_layer2"], (4, 4, 2))
    x = block(over_query(coarse, middle.shape[1:3]) + middle, p["encoder_layer4to3"], (1, 1, 1))
    x = block(over_query(x, fine.shape[1:3]) + fine, p["encoder_layer3to2"], (1, 1, 1))
    x = x.flatten(3).mean(-1)[None]
    x = F.relu(conv(F.relu(conv(x, p["decoder1_0"])), p["decoder1_1"]))
    x = F.interpolate(x, (2 * x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=True)
    x = conv(F.relu(conv(x, p["decoder2_0"])), p["decoder2_1"])
    return F.interpolate(x, size, mode="bilinear", align_corners=True)[0]


def hsnet_votes(scores):
    """bool [h, w] from the scores of each shot."""
    votes = sum(s.argmax(0) for s in scores)
    return votes / max(votes.max(), 1) >= 0.5


# SSP


def pooled(feature, mask):
    weight = F.interpolate(
        mask[None, None], feature.shape[-2:], mode="bilinear", align_corners=True
    )[0]
    return (feature * weight).sum((1, 2)) / (weight.sum() + 1e-5)


def ssp_scores(feature, background, found):
    """[2, h, w]; prototypes are [c] or [c, h, w]."""

    def cosine(prototype):
        prototype = prototype if prototype.ndim == 3 else prototype[:, None, None]
        return F.cosine_similarity(feature, prototype.expand_as(feature), dim=0)

    return 10 * torch.stack([cosine(background), cosine(found)])


def self_support(feature, scores):
    probability = scores.softmax(0).flatten(1)
    cells = feature.flatten(1)

    def chosen(p, threshold):
        return cells[:, p > threshold] if (p > threshold).any() else cells[:, p.topk(12).indices]

    found, background = chosen(probability[1], 0.7), chosen(probability[0], 0.6)
    alike = 2 * F.normalize(cells, dim=0).T @ F.normalize(background, dim=0)
    local = background @ alike.softmax(-1).T
    return found.mean(1), background.mean(1), local.reshape(feature.shape)


def ssp(support, masks, query, *, refine=True):
    """(final scores, first scores), each [2, h, w] of cells, of one query's features [c, h, w]."""
    found = torch.stack([pooled(s, (m == 1).double()) for s, m in zip(support, masks, strict=True)])
    background = torch.stack(
        [pooled(s, (m == 0).double()) for s, m in zip(support, masks, strict=True)]
    )
    found, background = found.mean(0), background.mean(0)

    def mixed(scores):
        own, own_background, local = self_support(query, scores)
        return 0.3 * own_background[:, None, None] + 0.7 * local, 0.5 * found + 0.5 * own

    background1, found1 = mixed(ssp_scores(query, background, found))
    first = ssp_scores(query, background1, found1)
    if not refine:
        return first, first
    background2, found2 = mixed(first)
    second = ssp_scores(
        query,
        0.5 * background[:, None, None] + 0.2 * background1 + 0.3 * background2,
        0.5 * found + 0.2 * found1 + 0.3 * found2,
    )
    return 0.7 * second + 0.3 * first, first


def ssp_loss(support, masks, queries, query_masks):
    """The training loss of an episode; query_masks and masks are 0 or 1, or -1 where undecided."""

    def entropy(all_scores, masks):
        scores = torch.stack(all_scores)
        scores = F.interpolate(scores, masks.shape[-2:], mode="bilinear", align_corners=True)
        return F.cross_entropy(scores, torch.where(masks < 0, 255, masks).long(), ignore_index=255)

    def own(features, masks):
        return [
            ssp_scores(f, pooled(f, (m == 0).double()), pooled(f, (m == 1).double()))
            for f, m in zip(features, masks, strict=True)
        ]

    answers = [ssp(support, masks, query) for query in queries]
    total = sum(entropy([a[n] for a in answers], query_masks) for n in (0, 1))
    total = total + entropy(own(queries, query_masks), query_masks)
    return total + 0.2 * entropy(own(support, masks), masks)
