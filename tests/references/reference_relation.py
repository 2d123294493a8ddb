"""The released relation network (VGG-16) for one episode, in float64 numpy, from protocols.md B.1."""

import numpy as np
import reference_layers as layers

CONVS = (2, 2, 3, 3, 3)


def encode(params, image, mask):
    """VGG-16 with BatchNorm on RGB / 255 and a mask: the end, and the last map of each block."""
    x = np.concatenate([image / 255.0, mask[..., None]], -1)
    skips = []
    for block, convs in enumerate(CONVS, 1):
        for index in range(1, convs + 1):
            x = layers.conv(x, params[f"conv{block}_{index}"])
            x = layers.relu(layers.norm(x, params[f"bn{block}_{index}"]))
        skips.append(x)
        x = layers.max_pool(x)
    return x, skips


def release(params, support_image, support_mask, query_image):
    """Logits [q, h, w] of one episode; support and query are normalized each by their own batch."""

    def unit(x, p):
        return layers.relu(layers.norm(layers.conv(x, p["conv"]), p["bn"]))

    support, _ = encode(params["encoder"], support_image, support_mask)
    query, skips = encode(params["encoder"], query_image, np.zeros(query_image.shape[:-1]))
    shots = np.broadcast_to(support.sum(0), query.shape)
    x = np.concatenate([shots, query], -1)
    x = unit(unit(x, params["relation_0"]), params["relation_1"])
    for block in range(5):
        x = layers.resize(x, 2 * x.shape[1], 2 * x.shape[2])
        x = np.concatenate([x, skips[4 - block]], -1)
        for index in range(1 if block == 4 else 2):
            x = unit(x, params[f"decoder_{block}_{index}"])
    return layers.conv(x, params["score"])[..., 0]
