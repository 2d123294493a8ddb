"""The released networks in PyTorch as strong peers: batched, channels_last, autocast, compiled.

Layers are those of the parity tests (tests/references), which hold them to our results;
here they take batches and keep what the support gave.
"""

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests/references"))

import reference_releases as releases  # noqa: E402

OSLSM_CROP = 40  # pixels of the deconvolution's output before the image


class Relation(torch.nn.Module):
    """The released relation network; BatchNorm by running averages unless in training mode."""

    def __init__(self, width: float):
        super().__init__()
        self.encoder = releases.CNNEncoder(width)
        self.relation = releases.RelationNetwork(width)

    def condition(self, support, mask):
        """[b, k, 3, h, w] and [b, k, h, w] -> [b, c, h/32, w/32]."""
        image = torch.cat([support / 255, mask[:, :, None]], 2).flatten(0, 1)
        feature, _ = self.encoder(image.contiguous(memory_format=torch.channels_last))
        return feature.unflatten(0, support.shape[:2]).sum(1)

    def segment(self, task, query):
        """[b, c, ..] and [b, q, 3, h, w] -> logits [b, q, h, w]."""
        shape = query.shape[:2]
        query = query.flatten(0, 1)
        image = torch.cat([query / 255, torch.zeros_like(query[:, :1])], 1)
        feature, skips = self.encoder(image.contiguous(memory_format=torch.channels_last))
        task = task[:, None].expand(-1, shape[1], -1, -1, -1).flatten(0, 1)
        return self.relation(torch.cat([task, feature], 1), skips).unflatten(0, shape)

    def forward(self, support, mask, query):
        return self.segment(self.condition(support, mask), query)


class OSLSM(torch.nn.Module):
    """The released OSLSM, deconvolution included."""

    def __init__(self, width: float):
        super().__init__()
        self.net = releases.OSLSM(width, 1000)
        mean = torch.tensor(releases.MEAN_BGR)
        self.register_buffer("mean", mean[None, :, None, None])
        self.net.draw_hash(torch.Generator().manual_seed(0))
        for suffix in "fs":  # images of 0..255
            self.net.layers[f"conv1_1{suffix}"].weight.data /= 100

    def _convs(self, image, suffix):
        return self.net._convs(image.contiguous(memory_format=torch.channels_last), suffix)

    def condition(self, support, mask):
        """[b, k, 3, h, w] and [b, k, h, w] -> weights [b, k, c] and biases [b, k, 1]."""
        shape, layers = support.shape[:2], self.net.layers
        support, mask = support.flatten(0, 1), mask.flatten(0, 1)
        x = self._convs((support.flip(1) - self.mean) * mask[:, None], "f")
        x = F.relu(layers["fc6f"](x.flatten(1)))
        x = layers["fc8f"](F.relu(layers["fc7f"](x)))
        return tuple(layers[name](x).unflatten(0, shape) for name in ("rw1s", "rb1s"))

    def segment(self, task, query):
        """(w, b) and [b, q, 3, h, w] -> logits [b, q, h, w]."""
        (w, b), (height, width), layers = task, query.shape[-2:], self.net.layers
        y = self._convs(query.flatten(0, 1).flip(1) - self.mean, "s")
        y = F.relu(layers["fc7s"](F.relu(layers["fc6s"](y)))).unflatten(0, query.shape[:2])
        score = torch.einsum("bkc,bqchw->bqkhw", w, y) + b[:, None, :, :, None]
        score = score.flatten(0, 2)[:, None]
        score = F.conv_transpose2d(score, self.net.uppred_offset.to(score.dtype), stride=32)[:, 0]
        score = score[:, OSLSM_CROP : OSLSM_CROP + height, OSLSM_CROP : OSLSM_CROP + width]
        return score.unflatten(0, (*query.shape[:2], w.shape[1])).amax(2)

    def forward(self, support, mask, query):
        return self.segment(self.condition(support, mask), query)


PEERS = {"oslsm": OSLSM, "relation": Relation}


def build(method: str, width: float, device: str) -> torch.nn.Module:
    """A method's peer in inference mode with its weights in channels_last.

    Raises:
      ValueError: a method that has none.
    """
    if method not in PEERS:
        raise ValueError(f"no PyTorch form of {method!r} here; there is one of {', '.join(PEERS)}")
    torch.manual_seed(0)
    return PEERS[method](width).eval().to(device, memory_format=torch.channels_last)
