"""EfficientNet-Lite0 as modules: a small convolutional image encoder without batch norms.

The architecture is that of EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) without squeeze
and excitation, and with ReLU6 instead of swish. The batch norms are folded into the convolutions,
so each convolution has a bias.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import nn

MEAN = STD = (0.5, 0.5, 0.5)
STEM = 32  # channels after the stem

# expansion, side of the kernel, stride, channels and units of each block
BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class Convolution(nn.Module):
    """A convolution whose output has a pixel for every `stride` pixels of its input, rounded up.

    Where the zeros around the input cannot be even, the greater part goes to the right and the
    bottom, as in TensorFlow, with which the weights were trained. It has no values until a state
    dict is loaded.

    Args:
        groups: 1, or `inputs` for a convolution of each channel on its own.
    """

    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        shape = (outputs, inputs // groups, side, side)
        self.weight = nn.Parameter(torch.empty(shape, device="meta"))
        self.bias = nn.Parameter(torch.empty(outputs, device="meta"))
        self.side, self.stride, self.groups = side, stride, groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, h, w) -> (B, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        if self.side == 1:  # a product over channels, for which torch's convolution is slower
            return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(
                0, 3, 1, 2
            )
        padding = self.side // 2
        if self.stride > 1:
            x, padding = F.pad(x, [*self._zeros(x.shape[3]), *self._zeros(x.shape[2])]), 0
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)

    def _zeros(self, length: int) -> tuple[int, int]:
        """How many before and after a row or column of this length."""
        total = max(0, (-(-length // self.stride) - 1) * self.stride + self.side - length)
        return total // 2, total - total // 2


class Unit(nn.Module):
    """An inverted bottleneck: expand the channels, convolve each on its own, project.

    Its input is added to its output if both have one shape.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, side: int, stride: int):
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner) if expansion > 1 else None
        self.depthwise = Convolution(inner, inner, side, stride, groups=inner)
        self.project = Convolution(inner, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        out = self.project(F.relu6(self.depthwise(inner), inplace=True))
        return out + x if self.residual else out


class EfficientNetLite(nn.Module):
    """The tensors of an EfficientNet-Lite0 without its embedding and classifier.

    Attributes:
        channels: of each block's output, in order.
        strides: pixels of the input a side for each pixel of each block's output, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        self.channels: list[int] = []
        self.strides: list[int] = []
        inputs, scale = STEM, 2
        for expansion, side, stride, channels, units in BLOCKS:
            first = Unit(inputs, channels, expansion, side, stride)
            rest = (Unit(channels, channels, expansion, side, 1) for _ in range(1, units))
            self.blocks.append(nn.Sequential(first, *rest))
            inputs, scale = channels, scale * stride
            self.channels.append(channels)
            self.strides.append(scale)

    def forward(self, pixels: torch.Tensor, blocks: Collection[int]) -> dict[int, torch.Tensor]:
        """Outputs of blocks and of the stem; none after the last of them runs.

        Args:
            pixels: (B, 3, H, W), normalised with `MEAN` and `STD`.
            blocks: numbers of the blocks, from 1; 0 is the stem.

        Returns:
            Block -> (B, C, h, w).
        """
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)), inplace=True)
        found = {0: x} if 0 in blocks else {}
        for number, block in enumerate(self.blocks[: max(blocks)], 1):
            x = block(x)
            if number in blocks:
                found[number] = x
        return found
