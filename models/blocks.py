"""The blocks that networks are built from.

Every activation, norm and convolution is a module of its own, and no forward pass knows a channel number: channels can
be removed and layers replaced (by quantized ones, by `nn.Identity` where a norm is folded) without touching a block.

`foldable` names the (convolution, batch norm) pairs of a block where the norm directly follows the convolution,
`read_once` the (activation, convolution) pairs where nothing else reads the activation.

Shapes: N images, C channels, H x W positions; a stride s makes ceil(H / s) x ceil(W / s) of them, in every block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
import torch.nn.functional as F
from slimfront.models.kernels.convolution import Convolution
from slimfront.models.kernels.norm_act import norm_act
from torch import Tensor, nn

Pairs = tuple[tuple[str, str], ...]


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that stride 1 keeps H x W (odd kernels)."""
    return Convolution(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def activation() -> nn.Module:
    """The activation of all networks. In place: it only ever follows a norm or a sum that nothing else reads."""
    return nn.ReLU(inplace=True)


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless `linear`, an activation: (N, C, H, W) -> (N, outputs, H/s, W/s)."""

    foldable: ClassVar[Pairs] = (("conv", "norm"),)

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        super().__init__()
        # A 1x1 kernel reads only the pixels that its stride hits: they are picked first. The same function, and
        # oneDNN's strided 1x1 convolution writes past its memory in the backward pass where there are fewer input
        # channels than a vector has places, which is what pruning leaves (channels_last; uxlfoundation/oneDNN#6035).
        self.picked = stride if kernel == 1 else 1
        self.conv = convolution(inputs, outputs, kernel, stride // self.picked, groups)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.act: nn.Module = nn.Identity() if linear else activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, outputs, H/s, W/s)."""
        if self.picked > 1:
            x = x[:, :, :: self.picked, :: self.picked]
        return norm_act(self.conv(x), self.norm, self.act)


class PaddingShortcut(nn.Module):
    """A shortcut without weights: every stride-th pixel, and zeros for the channels that the input does not have.

    Option A of He et al. 2015 (arXiv:1512.03385, section 4.2): the input's channels in the middle, zeros around them.
    Where the output has fewer channels than the input, the middle ones pass.

    Which input channel an output channel takes is data: `source` (outputs,) holds its index, or -1 for zeros. So
    channels on either side can be removed for good, in any order, with `remove_inputs` and `remove_outputs`.
    """

    source: Tensor

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (outputs - inputs) // 2  # negative where the output is narrower
        index = torch.arange(outputs, device="cpu") - before  # data: needed even where a network gets no memory
        index[(index < 0) | (index >= inputs)] = -1
        self.register_buffer("source", index)
        self._margins: tuple[int, int, int] | None = None
        self._recognise()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/s, W/s)."""
        x = x[:, :, :: self.stride, :: self.stride]
        if self._margins is not None and self._margins[1] == x.shape[1]:
            return F.pad(x, (0, 0, 0, 0, self._margins[0], self._margins[2]))
        # Channel 0 of the padded tensor is the one of zeros.
        return F.pad(x, (0, 0, 0, 0, 1, 0)).index_select(1, self.source + 1)

    def remove_inputs(self, channels: Iterable[int]) -> None:
        """Follow the removal of input channels: outputs that took one of them are zero from now on."""
        removed = sorted(set(channels))
        index = self.source.tolist()
        kept = [-1 if i < 0 or i in removed else i - sum(r < i for r in removed) for i in index]
        self._replace(kept)

    def remove_outputs(self, channels: Iterable[int]) -> None:
        """Remove output channels, given by index."""
        removed = set(channels)
        self._replace([i for position, i in enumerate(self.source.tolist()) if position not in removed])

    def _replace(self, index: list[int]) -> None:
        self.source = torch.tensor(index, dtype=torch.int64, device=self.source.device)
        self._recognise()

    def _recognise(self) -> None:
        """Where the input passes whole and in order, plain padding does, which is faster and stays channels_last."""
        index = self.source.tolist()
        taken = [i for i in index if i >= 0]
        before = next((position for position, i in enumerate(index) if i >= 0), 0)
        plain = bool(taken) and index[before : before + len(taken)] == list(range(len(taken)))
        self._margins = (before, len(taken), len(index) - before - len(taken)) if plain else None

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self._recognise()

    def extra_repr(self) -> str:
        """What `print` shows: output channels and stride."""
        return f"outputs={len(self.source)}, stride={self.stride}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, an activation after the sum (He et al. 2015, arXiv:1512.03385, figure 2)."""

    foldable: ClassVar[Pairs] = (("conv1", "norm1"), ("conv2", "norm2"))
    read_once: ClassVar[Pairs] = (("act1", "conv2"),)

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.norm1: nn.Module = nn.BatchNorm2d(outputs)
        self.act1: nn.Module = activation()
        self.conv2 = convolution(outputs, outputs, 3)
        self.norm2: nn.Module = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            if shortcut == "projection":
                self.shortcut = ConvNorm(inputs, outputs, 1, stride, linear=True)
            else:
                self.shortcut = PaddingShortcut(inputs, outputs, stride)
        self.act2: nn.Module = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/s, W/s)."""
        inside = norm_act(self.conv1(x), self.norm1, self.act1)
        return norm_act(self.conv2(inside), self.norm2, self.act2, self.shortcut(x))


class InvertedBlock(nn.Module):
    """1x1 expansion (none if 1), depthwise kernel, linear 1x1 projection (Sandler et al. 2018, arXiv:1801.04381).

    The input is added where shape allows: stride 1 and equal width. Plain ReLU instead of ReLU6.
    """

    read_once: ClassVar[Pairs] = (("expand.act", "depthwise.conv"), ("depthwise.act", "project.conv"))

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.expand: nn.Module = ConvNorm(inputs, inside, 1) if expansion != 1 else nn.Identity()
        self.depthwise = ConvNorm(inside, inside, kernel, stride, groups=inside)
        self.project = ConvNorm(inside, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/s, W/s)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class DenseLayer(nn.Module):
    """Norm-act-1x1 to 4 x growth, norm-act-3x3 to growth, joined to the input (Huang et al. 2016, arXiv:1608.06993)."""

    foldable: ClassVar[Pairs] = (("conv1", "norm2"),)  # norm1 sees a concatenation: no convolution to fold into
    read_once: ClassVar[Pairs] = (("act1", "conv1"), ("act2", "conv2"))

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1: nn.Module = nn.BatchNorm2d(inputs)
        self.act1: nn.Module = activation()
        self.conv1 = convolution(inputs, 4 * growth, 1)
        self.norm2: nn.Module = nn.BatchNorm2d(4 * growth)
        self.act2: nn.Module = activation()
        self.conv2 = convolution(4 * growth, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, inputs + growth, H, W)."""
        new = self.conv1(norm_act(x, self.norm1, self.act1))
        new = self.conv2(norm_act(new, self.norm2, self.act2))
        return torch.cat((x, new), 1)


class Transition(nn.Module):
    """Norm-act-1x1 between the stages of a DenseNet, and 2x2 average pooling where the stride is 2."""

    read_once: ClassVar[Pairs] = (("act", "conv"),)

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(inputs)
        self.act: nn.Module = activation()
        self.conv = convolution(inputs, outputs, 1)
        self.pool: nn.Module = halving() if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H/s, W/s)."""
        out: Tensor = self.pool(self.conv(norm_act(x, self.norm, self.act)))
        return out


class NormAct(nn.Module):
    """The batch norm and activation that end a DenseNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.act: nn.Module = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        return norm_act(x, self.norm, self.act)


def halving() -> nn.Module:
    """2x2 average pooling that rounds up, as a convolution of stride 2 does: 1x1 stays 1x1."""
    return nn.AvgPool2d(2, ceil_mode=True)
