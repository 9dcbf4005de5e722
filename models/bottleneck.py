"""The block of the family in `slimfront.models.families.bottleneck`."""

from __future__ import annotations

from typing import ClassVar

from slimfront.models.blocks import PaddingShortcut, Pairs, activation, convolution
from slimfront.models.kernels.norm_act import norm_act
from torch import Tensor, nn


class PreActivationBottleneck(nn.Module):
    """Norm-act-1x1 to `inside`, norm-act-3x3 in groups, norm-act-1x1 to `outputs`, norm; the input is added.

    He et al. 2016 (arXiv:1603.05027) put norm and activation first, Xie et al. 2016 (arXiv:1611.05431) split the 3x3
    convolution into groups, Han et al. 2016 (arXiv:1610.02915) end with a norm. Its scale begins at zero, so that a
    network begins as its shortcuts alone (Goyal et al. 2017, arXiv:1706.02677). A shortcut that changes shape has no
    weights.
    """

    foldable: ClassVar[Pairs] = (("conv1", "norm2"), ("conv2", "norm3"), ("conv3", "norm4"))  # norm1 sees a sum
    read_once: ClassVar[Pairs] = (("act1", "conv1"), ("act2", "conv2"), ("act3", "conv3"))

    def __init__(self, inputs: int, outputs: int, stride: int, inside: int, groups: int) -> None:
        super().__init__()
        self.norm1: nn.Module = nn.BatchNorm2d(inputs)
        self.act1: nn.Module = activation()
        self.conv1 = convolution(inputs, inside, 1)
        self.norm2: nn.Module = nn.BatchNorm2d(inside)
        self.act2: nn.Module = activation()
        self.conv2 = convolution(inside, inside, 3, stride, groups)
        self.norm3: nn.Module = nn.BatchNorm2d(inside)
        self.act3: nn.Module = activation()
        self.conv3 = convolution(inside, outputs, 1)
        last = nn.BatchNorm2d(outputs)
        nn.init.zeros_(last.weight)
        self.norm4: nn.Module = last
        changes = stride != 1 or inputs != outputs
        self.shortcut: nn.Module = PaddingShortcut(inputs, outputs, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/s, W/s)."""
        out = self.conv1(norm_act(x, self.norm1, self.act1))
        out = self.conv2(norm_act(out, self.norm2, self.act2))
        out = self.conv3(norm_act(out, self.norm3, self.act3))
        out = self.norm4(out)
        result: Tensor = self.shortcut(x) + out
        return result
