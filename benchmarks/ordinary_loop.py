"""The training loop that people usually write for CIFAR-10, to be measured against.

PIL images through torchvision transforms, a DataLoader with two workers, tensors in NCHW, float32, eager, and as many
threads as the machine has cores for the one training. Network, batch size and optimizer are the same as on our side;
our kernels are switched off.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from slimfront.evaluators.data.splits import Images
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10


class Pictures(Dataset[tuple[Tensor, int]]):
    """What torchvision.datasets.CIFAR10 does: an array of bytes, one PIL image at a time, transforms."""

    def __init__(self, images: Images) -> None:
        self._arrays = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = images.labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._arrays[index])), self._labels[index]


def steps(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Images, batch: int, workers: int = 2
) -> Iterator[None]:
    """Trains without end and yields after every step."""
    loader = DataLoader(
        Pictures(images), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    network.train()
    while True:
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(inputs), labels)
            loss.backward()
            optimizer.step()
            yield
