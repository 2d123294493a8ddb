"""The released designs of OSLSM and FSS-1000 as PyTorch modules, with the releases' own names.

Written from protocols.md A.4-A.7 and B.1; `width` as in fss_jax.
"""

import torch
from reference_torchvision import scaled
from torch import nn
from torch.nn import functional as F

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)


class OSLSM(nn.Module):
    """Layer names ending in f see the support image, in s the query."""

    def __init__(self, width, outputs):
        super().__init__()
        layers, hidden = {}, scaled(4096, width)
        for suffix in "fs":
            channels = 3
            for block, (count, out) in enumerate(BLOCKS, 1):
                out = scaled(out, width)
                for n in range(1, count + 1):
                    pad = 121 if suffix == "s" and block == n == 1 else 1
                    layers[f"conv{block}_{n}{suffix}"] = nn.Conv2d(channels, out, 3, padding=pad)
                    channels = out
        layers["fc6f"] = nn.Linear(49 * channels, hidden)
        layers["fc7f"] = nn.Linear(hidden, hidden)
        layers["fc8f"] = nn.Linear(hidden, outputs)
        layers["fc6s"] = nn.Conv2d(channels, hidden, 7)
        layers["fc7s"] = nn.Conv2d(hidden, hidden, 1)
        layers["rw1s"] = nn.Linear(outputs, hidden)
        layers["rb1s"] = nn.Linear(outputs, 1)
        self.layers = nn.ModuleDict(layers)
        line = 1 - (torch.arange(64) - 31.5).abs() / 32
        self.register_buffer("uppred_offset", torch.outer(line, line)[None, None])

    def draw_hash(self, generator):
        """One +1 or -1 in each row of both matrices, no bias."""
        for name in ("rw1s", "rb1s"):
            weight = self.layers[name].weight.data.zero_()
            column = torch.randint(weight.shape[1], (len(weight),), generator=generator)
            sign = 2.0 * torch.randint(2, (len(weight),), generator=generator) - 1
            weight[torch.arange(len(weight)), column] = sign
            self.layers[name].bias.data.zero_()

    def _convs(self, x, suffix):
        for block, (count, _) in enumerate(BLOCKS, 1):
            for n in range(1, count + 1):
                x = F.relu(self.layers[f"conv{block}_{n}{suffix}"](x))
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        return x

    @staticmethod
    def _normalized(image):
        return image.flip(1) - torch.tensor(MEAN_BGR)[None, :, None, None]

    def forward(self, support, mask, query):
        """RGB [K, 3, 224, 224] in 0..255, mask [K, 224, 224], RGB [1, 3, h, w] -> scores [h, w]."""
        x = self._convs(self._normalized(support) * mask[:, None], "f")
        x = F.relu(self.layers["fc6f"](x.flatten(1)))
        x = self.layers["fc8f"](F.relu(self.layers["fc7f"](x)))
        w, b = self.layers["rw1s"](x), self.layers["rb1s"](x)
        y = self._convs(self._normalized(query), "s")
        y = F.relu(self.layers["fc7s"](F.relu(self.layers["fc6s"](y))))[0]
        score = torch.einsum("kc,chw->khw", w, y) + b[:, :, None]
        score = F.conv_transpose2d(score[:, None], self.uppred_offset, stride=32)[:, 0]
        height, width = query.shape[2:]
        return score[:, 40 : 40 + height, 40 : 40 + width].max(0).values


class CNNEncoder(nn.Module):
    """feature_encoder.pkl: vgg16_bn's features but the first, after a convolution of four channels."""

    def __init__(self, width):
        super().__init__()
        layers, channels = [], 4
        for count, out in BLOCKS:
            out = scaled(out, width)
            for _ in range(count):
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2, 2))
        self.layer1 = nn.Sequential(layers[0])
        self.features = nn.ModuleList(layers[1:])

    def forward(self, x):
        x, skips = self.layer1(x), []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in (4, 11, 21, 31, 41):
                skips.append(x)
        return x, skips


class RelationNetwork(nn.Module):
    """relation_network.pkl."""

    def __init__(self, width):
        super().__init__()

        def unit(inputs, outputs):
            norm = nn.BatchNorm2d(outputs, momentum=1)
            return [nn.Conv2d(inputs, outputs, 3, padding=1), norm, nn.ReLU()]

        c64, c128, c256, c512 = (scaled(n, width) for n in (64, 128, 256, 512))
        self.layer1 = nn.Sequential(*unit(2 * c512, c512))
        self.layer2 = nn.Sequential(*unit(c512, c512))
        self.double_conv1 = nn.Sequential(*unit(2 * c512, c512), *unit(c512, c512))
        self.double_conv2 = nn.Sequential(*unit(2 * c512, c256), *unit(c256, c256))
        self.double_conv3 = nn.Sequential(*unit(2 * c256, c128), *unit(c128, c128))
        self.double_conv4 = nn.Sequential(*unit(2 * c128, c64), *unit(c64, c64))
        self.double_conv5 = nn.Sequential(*unit(2 * c64, c64), nn.Conv2d(c64, 1, 1))

    def forward(self, x, skips):
        x = self.layer2(self.layer1(x))
        for block in range(1, 6):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = getattr(self, f"double_conv{block}")(torch.cat([x, skips[-block]], 1))
        return x[:, 0]


def fss1000(encoder, relation, support, mask, query):
    """Logits [q, h, w]; RGB in 0..255, [K or Q, 3, h, w]; BatchNorm in training mode throughout."""
    encoder.train(), relation.train()
    support, _ = encoder(torch.cat([support / 255, mask[:, None]], 1))
    query, skips = encoder(torch.cat([query / 255, torch.zeros_like(query[:, :1])], 1))
    support = support.sum(0, keepdim=True).expand_as(query)
    return relation(torch.cat([support, query], 1), skips)
