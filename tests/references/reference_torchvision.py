"""The architectures as PyTorch modules with torchvision's names: the reference of the parity tests.

Written from the papers and torchvision's layer names; `width` as in fss_jax.
"""

import torch
from torch import nn
from torch.nn import functional as F


def scaled(channels: int, width: float) -> int:
    return max(8, round(width * channels))


class VGG16(nn.Module):
    def __init__(self, width=1.0, batch_norm=False, outputs=1000, ceil=False):
        super().__init__()
        layers, channels = [], 3
        for count, out in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            out = scaled(out, width)
            for _ in range(count):
                layers.append(nn.Conv2d(channels, out, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(out))
                layers.append(nn.ReLU())
                channels = out
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=ceil))
        hidden = scaled(4096, width)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(49 * channels, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def VGG16BN(width=1.0, outputs=1000):
    return VGG16(width, batch_norm=True, outputs=outputs, ceil=True)


class AlexNet(nn.Module):
    def __init__(self, width=1.0, outputs=1000):
        super().__init__()
        c = [3] + [scaled(n, width) for n in (64, 192, 384, 256, 256)]
        hidden = scaled(4096, width)
        self.features = nn.Sequential(
            *(nn.Conv2d(c[0], c[1], 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(c[1], c[2], 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(c[2], c[3], 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c[3], c[4], 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c[4], c[5], 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(36 * c[5], hidden), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, outputs),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class Bottleneck(nn.Module):
    def __init__(self, inputs, channels, outputs, stride, keras):
        super().__init__()
        bias, eps = keras, 1.001e-5 if keras else 1e-5
        first, second = (stride, 1) if keras else (1, stride)
        self.conv1 = nn.Conv2d(inputs, channels, 1, first, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels, eps)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels, eps)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(outputs, eps)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=bias), nn.BatchNorm2d(outputs, eps)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`keras`: biases before BatchNorm, its epsilon, and the stride in the first 1x1."""

    def __init__(self, blocks, width=1.0, outputs=1000, keras=False):
        super().__init__()
        channels = scaled(64, width)
        self.conv1 = nn.Conv2d(3, channels, 7, 2, padding=3, bias=keras)
        self.bn1 = nn.BatchNorm2d(channels, 1.001e-5 if keras else 1e-5)
        for stage, count in enumerate(blocks):
            layer = []
            for block in range(count):
                out = scaled(4 * 64 * 2**stage, width)
                stride = 2 if stage and not block else 1
                middle = scaled(64 * 2**stage, width)
                layer.append(Bottleneck(channels, middle, out, stride, keras))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(channels, outputs)

    def features(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def ResNet50(width=1.0, **options):
    return ResNet((3, 4, 6, 3), width, **options)


def ResNet101(width=1.0, **options):
    return ResNet((3, 4, 23, 3), width, **options)


class SqueezeNet(nn.Module):
    def __init__(self, width=1.0, outputs=1000):
        super().__init__()

        class Fire(nn.Module):
            def __init__(self, inputs, squeeze, expand):
                super().__init__()
                squeeze, expand = scaled(squeeze, width), scaled(expand, width)
                self.squeeze = nn.Conv2d(inputs, squeeze, 1)
                self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
                self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

            def forward(self, x):
                x = F.relu(self.squeeze(x))
                return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))

        def pool():
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        c = [2 * scaled(n, width) for n in (64, 128, 192, 256)]
        self.features = nn.Sequential(
            *(nn.Conv2d(3, scaled(96, width), 7, 2), nn.ReLU(), pool()),
            Fire(scaled(96, width), 16, 64),
            *(Fire(c[0], 16, 64), Fire(c[0], 32, 128), pool()),
            *(Fire(c[1], 32, 128), Fire(c[1], 48, 192), Fire(c[2], 48, 192)),
            *(Fire(c[2], 64, 256), pool(), Fire(c[3], 64, 256)),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(c[3], outputs, 1), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """A block from its table: branches of steps ('name', channels, kernel, stride, padding)."""

    def __init__(self, inputs, branches, width, count_border):
        super().__init__()
        self.branches, self.count_border, self.outputs = branches, count_border, 0
        for branch in branches:
            channels = inputs
            for step in branch:
                if isinstance(step, list):
                    for name, out, kernel, padding in step:
                        out = scaled(out, width)
                        setattr(self, name, ConvNorm(channels, out, kernel, 1, padding))
                        self.outputs += out
                    channels = 0
                elif isinstance(step, tuple):
                    name, out, kernel, stride, padding = step
                    out = scaled(out, width)
                    setattr(self, name, ConvNorm(channels, out, kernel, stride, padding))
                    channels = out
            self.outputs += channels

    def forward(self, x):
        outputs = []
        for branch in self.branches:
            y = x
            for step in branch:
                if step == "average":
                    y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=self.count_border)
                elif step == "max":
                    y = F.max_pool2d(y, 3, 2)
                elif isinstance(step, list):
                    y = torch.cat([getattr(self, name)(y) for name, *_ in step], 1)
                else:
                    y = getattr(self, step[0])(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _inception_blocks():
    def one(name, channels):
        return (name, channels, 1, 1, 0)

    def a(pool):
        return [
            [one("branch1x1", 64)],
            [one("branch5x5_1", 48), ("branch5x5_2", 64, 5, 1, 2)],
            [
                one("branch3x3dbl_1", 64),
                ("branch3x3dbl_2", 96, 3, 1, 1),
                ("branch3x3dbl_3", 96, 3, 1, 1),
            ],
            ["average", one("branch_pool", pool)],
        ]

    def c(mid):
        wide, tall = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        return [
            [one("branch1x1", 192)],
            [one("branch7x7_1", mid), ("branch7x7_2", mid, *wide), ("branch7x7_3", 192, *tall)],
            [
                one("branch7x7dbl_1", mid),
                ("branch7x7dbl_2", mid, *tall),
                ("branch7x7dbl_3", mid, *wide),
                ("branch7x7dbl_4", mid, *tall),
                ("branch7x7dbl_5", 192, *wide),
            ],
            ["average", one("branch_pool", 192)],
        ]

    def both(name):
        return [(f"{name}a", 384, (1, 3), (0, 1)), (f"{name}b", 384, (3, 1), (1, 0))]

    b = [
        [("branch3x3", 384, 3, 2, 0)],
        [
            one("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, 3, 1, 1),
            ("branch3x3dbl_3", 96, 3, 2, 0),
        ],
        ["max"],
    ]
    d = [
        [one("branch3x3_1", 192), ("branch3x3_2", 320, 3, 2, 0)],
        [
            one("branch7x7x3_1", 192),
            ("branch7x7x3_2", 192, (1, 7), 1, (0, 3)),
            ("branch7x7x3_3", 192, (7, 1), 1, (3, 0)),
            ("branch7x7x3_4", 192, 3, 2, 0),
        ],
        ["max"],
    ]
    e = [
        [one("branch1x1", 320)],
        [one("branch3x3_1", 384), both("branch3x3_2")],
        [one("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, 3, 1, 1), both("branch3x3dbl_3")],
        ["average", one("branch_pool", 192)],
    ]
    return {
        **{"Mixed_5b": a(32), "Mixed_5c": a(64), "Mixed_5d": a(64), "Mixed_6a": b},
        **{"Mixed_6b": c(128), "Mixed_6c": c(160), "Mixed_6d": c(160), "Mixed_6e": c(192)},
        **{"Mixed_7a": d, "Mixed_7b": e, "Mixed_7c": e},
    }


class InceptionV3(nn.Module):
    """count_border: torchvision counts padding in its average pools, Keras does not."""

    def __init__(self, width=1.0, outputs=1000, count_border=True):
        super().__init__()
        c = [3] + [scaled(n, width) for n in (32, 32, 64, 80, 192)]
        self.Conv2d_1a_3x3 = ConvNorm(c[0], c[1], 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(c[1], c[2], 3)
        self.Conv2d_2b_3x3 = ConvNorm(c[2], c[3], 3, 1, 1)
        self.Conv2d_3b_1x1 = ConvNorm(c[3], c[4], 1)
        self.Conv2d_4a_3x3 = ConvNorm(c[4], c[5], 3)
        self.blocks, channels = list(_inception_blocks()), c[5]
        for name, branches in _inception_blocks().items():
            setattr(self, name, Mixed(channels, branches, width, count_border))
            channels = getattr(self, name).outputs
        self.fc = nn.Linear(channels, outputs)

    def features(self, x):
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))
