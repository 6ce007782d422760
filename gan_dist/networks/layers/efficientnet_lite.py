"""EfficientNet-lite0, the network that Projected GAN looks through (Tan and Le 2019, arXiv 1905.11946).

The "lite" form has ReLU6 and no squeeze-excitation. Tensors are named as those of `efficientnet-lite-pytorch`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

EPS, MOMENTUM = 1e-3, 0.01
STEM, HEAD = 32, 1280


class Stage(NamedTuple):
    """Blocks of one width: how many, their kernel, the stride of the first, and how much wider they are inside."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# The blocks after which a map is a 4th, 8th, 16th and 32nd of the image.
TAPS = (2, 4, 10, 15)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads: the output is ceil(input / stride), what is odd goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        (right, left), (below, above) = (self._padding(x.shape[side], side - 2) for side in (3, 2))
        return F.conv2d(
            F.pad(x, (left, right, above, below)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )

    def _padding(self, size: int, side: int) -> tuple[int, int]:
        stride = self.stride[side]
        whole = max((math.ceil(size / stride) - 1) * stride + self.kernel_size[side] - size, 0)
        return whole - whole // 2, whole // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM)


class Block(nn.Module):
    """An inverted residual: wider by 1x1, depthwise, narrower by 1x1; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.residual = stride == 1 and before == after
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(before, inside, 1, bias=False), _norm(inside)
        self._depthwise_conv = SameConv(inside, inside, kernel, stride, groups=inside, bias=False)
        self._bn1 = _norm(inside)
        self._project_conv, self._bn2 = SameConv(inside, after, 1, bias=False), _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        inside = F.relu6(self._bn1(self._depthwise_conv(inside)))
        found: Tensor = self._bn2(self._project_conv(inside))
        return found + x if self.residual else found


class EfficientNetLite0(nn.Module):
    """Images [B, 3, H, W], scaled by (x - 127) / 128 from bytes, to four maps."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2, bias=False), _norm(STEM)
        blocks, before = [], STEM
        for stage in STAGES:
            for number in range(stage.blocks):
                stride = stage.stride if number == 0 else 1
                blocks.append(Block(before, stage.channels, stage.kernel, stride, stage.expansion))
                before = stage.channels
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        found = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in TAPS:
                found.append(x)
        return found


class EfficientNetLite0Features(EfficientNetLite0):
    """The same to the features [B, 1280] that its classifier sees."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_head, self._bn1 = SameConv(STAGES[-1].channels, HEAD, 1, bias=False), _norm(HEAD)

    def pooled(self, x: Tensor) -> Tensor:
        """Means over places, [B, 1280]."""
        last = super().forward(x)[-1]
        found: Tensor = F.relu6(self._bn1(self._conv_head(last))).mean((2, 3))
        return found
