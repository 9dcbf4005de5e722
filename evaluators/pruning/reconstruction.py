"""ThiNet: which channels can go so that the next layer's sums change least (Luo et al. 2017, arXiv:1707.06342).

An output of the next layer is a sum of one contribution from each input channel. Over a sample of outputs let X
(samples x channels) hold the contributions. Removing a set T changes the outputs by the row sums of X over T, whose
squared size is 1_T' G 1_T with the Gram matrix G = X'X: G is all that has to be kept, however many images are seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from slimfront.evaluators.pruning.groups import Group, Member
from torch import Tensor, nn

PLACES = 10  # sampled output positions an image, as in the paper
OUTPUTS = 16  # sampled output channels of the next layer


@torch.no_grad()
def gram_matrices(
    network: nn.Module, groups: tuple[Group, ...], inputs: Tensor, seed: int
) -> dict[str, dict[str, Tensor]]:
    """The Gram matrices of each group's readers, each scaled so that the outputs' energy 1'G1 is 1.

    Args:
        network: Is run once, in evaluation mode.
        groups: Of that network.
        inputs: (N, C, H, W) images as the network takes them.
        seed: Of the sample.

    Returns:
        By group and reader: a (channels, channels) matrix, float64.
    """
    generator = torch.Generator().manual_seed(seed)
    result: dict[str, dict[str, Tensor]] = {group.name: {} for group in groups}
    hooks = []
    for group in groups:
        for reader in group.readers:

            def look(
                layer: nn.Module, given: tuple[Tensor, ...], group: Group = group, reader: Member = reader
            ) -> None:
                contributions = _contributions(layer, given[0], reader.channels, generator).double()
                # Two channels of the reader may stand for one of the group: their contributions add up.
                merged = contributions.new_zeros(len(contributions), group.channels)
                merged.index_add_(1, reader.roots, contributions)
                gram = merged.T @ merged
                result[group.name][reader.name] = gram / gram.sum().clamp_min(1e-12)

            hooks.append(network.get_submodule(reader.name).register_forward_pre_hook(look))
    was_training = network.training
    try:
        network.eval()(inputs)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return result


def _contributions(layer: nn.Module, inputs: Tensor, channels: Tensor, generator: torch.Generator) -> Tensor:
    """(samples, len(channels)): what each input channel adds to sampled outputs of a convolution or linear layer."""
    weight = layer.get_parameter("weight").detach().cpu()
    outputs = torch.randperm(len(weight), generator=generator)[:OUTPUTS]
    given = inputs.detach().cpu()
    if isinstance(layer, nn.Linear):
        terms = given.flatten(0, -2)[:, None, channels] * weight[outputs][:, channels]  # (N, o, k)
        return terms.flatten(0, 1)
    assert isinstance(layer, nn.Conv2d)
    (tall, wide), (down, right), (apart, aside) = layer.kernel_size, layer.stride, layer.dilation
    padded = F.pad(given[:, channels], layer._reversed_padding_repeated_twice).permute(0, 2, 3, 1)  # (N, H, W, k)
    count = len(given)
    tallest, widest = padded.shape[1] - apart * (tall - 1), padded.shape[2] - aside * (wide - 1)
    rows = torch.randint((tallest - 1) // down + 1, (count, PLACES, 1, 1), generator=generator) * down
    columns = torch.randint((widest - 1) // right + 1, (count, PLACES, 1, 1), generator=generator) * right
    rows, columns = rows + apart * torch.arange(tall)[:, None], columns + aside * torch.arange(wide)
    patches = padded[torch.arange(count)[:, None, None, None], rows, columns]  # (N, places, tall, wide, k)
    kernels = weight[outputs][:, channels]  # (o, k, tall, wide)
    return torch.einsum("npyxk,okyx->npok", patches, kernels).flatten(0, 2)


def removal_errors(gram: Tensor) -> Tensor:
    """Greedy removal order as importances (channels,): the relative error once a channel and all before it are gone.

    The order is the paper's: of all channels left, the one goes next that leaves the smallest error. Small steps
    on top keep the order where errors are equal or where one removal makes up for another.
    """
    count = len(gram)
    importance = torch.zeros(count, dtype=gram.dtype)
    pull = torch.zeros(count, dtype=gram.dtype)  # G 1_T
    left = torch.ones(count, dtype=torch.bool)
    error = highest = torch.zeros((), dtype=gram.dtype)
    for rank in range(count):
        cost = torch.where(left, error + 2 * pull + gram.diagonal(), torch.inf)
        chosen = int(cost.argmin())
        error = cost[chosen]
        highest = torch.maximum(highest, error)
        importance[chosen] = highest * (1 + 1e-9 * rank) + 1e-12 * rank
        pull += gram[:, chosen]
        left[chosen] = False
    return importance


def rescaling(gram: Tensor, kept: Tensor) -> Tensor:
    """Factors (len(kept),) for the kept channels that bring the next layer's sums closest to what they were.

    Least squares, the paper's equation 7, with a little ridge towards 1 so that channels which hardly differ do not
    trade huge factors.
    """
    inner = gram[kept][:, kept]
    ridge = 1e-2 * inner.diagonal().mean().clamp_min(1e-12) * torch.eye(len(kept), dtype=gram.dtype)
    missing = gram[kept].sum(1) - inner.sum(1)
    solution: Tensor = torch.linalg.solve(inner + ridge, missing)
    return 1 + solution
