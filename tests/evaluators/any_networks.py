"""Small networks as nobody here builds them: what tracing follows, and what it does not see."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Functional ReLUs, a shared convolution, a residual sum, a classifier that is linear."""

    def __init__(self, num_classes: int = 5, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.shared = nn.Conv2d(width, width, 3, padding="same")
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = x + F.relu(self.shared(x))
        x = x + F.relu(self.shared(x))
        x = F.relu(self.conv2(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class _Part(nn.Module):
    """conv 3 -> 8, something, conv 8 -> 6, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(6, 5)

    def between(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(self.between(self.first(x))))
        return self.fc(x.mean((2, 3)))


class FixedSlice(_Part):
    def between(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, :3].relu(), x[:, 3:]), 1)


class Roll(_Part):
    def between(self, x: Tensor) -> Tensor:
        return x.roll(1, 1)


class Shuffle(_Part):
    def between(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return x.view(n, 2, 4, h, w).transpose(1, 2).reshape(n, 8, h, w)


class Buffer(_Part):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(1, 2, 8).view(1, -1, 1, 1))

    def between(self, x: Tensor) -> Tensor:
        return x * self.scale


class PlainGroupNorm(_Part):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, 8, affine=False)

    def between(self, x: Tensor) -> Tensor:
        return self.norm(x)


class ChannelMean(_Part):
    def between(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)


class SigmoidBetween(_Part):
    """A silent channel does not say zero behind it, and can go all the same."""

    def between(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class EndsInConvolution(nn.Module):
    """As squeezenet does."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.classifier = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))
