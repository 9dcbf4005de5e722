"""A user's own members tried out on a few made-up images, before data are trained on with them.

What a policy, an optimizer, a decay, a criterion or a cost raises would otherwise be a failed trial after another, and
what it gets wrong without raising would be found in the morning, or never.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from slimfront.evaluators.pruning.errors import PruningError
from slimfront.evaluators.pruning.groups import find_groups
from slimfront.evaluators.pruning.importance import Sample, filter_importance, weight_importance
from slimfront.evaluators.scoring.cost import Cost, CostError, Subject, measure
from slimfront.evaluators.scoring.score import score
from slimfront.evaluators.training.augmentation import augment, normalise
from slimfront.evaluators.training.checkpoint import flatten_optimizer, restore_optimizer
from slimfront.models import build
from slimfront.models.network import is_known
from slimfront.spaces import references
from slimfront.spaces.candidate import Architecture, Augmentation, Recipe
from slimfront.spaces.criteria import Method
from slimfront.spaces.optimizers import Decay, Optimizer
from slimfront.spaces.policies import Policy
from slimfront.spaces.references import CodeReferenceError
from torch import Tensor, nn

IMAGES = 8


@dataclass(frozen=True, eq=False)
class _Bench:
    """What a member is tried on: made-up images, and a network that the study may come to."""

    architecture: Architecture
    input_shape: tuple[int, int, int]
    classes: int
    images: Tensor  # (IMAGES, C, H, W), uint8
    labels: Tensor  # (IMAGES,), int64

    def network(self) -> nn.Module:
        """A new one, with random weights."""
        return build(self.architecture, self.classes, channels=self.input_shape[0], seed=0)


def try_members(among: object, architecture: Architecture, input_shape: tuple[int, int, int], classes: int) -> None:
    """Use every member of the user's own that is named in `among` once, but for families, samplers and networks.

    Args:
        among: A table of any depth: a space, a candidate's JSON, a list of names.
        architecture: Of a network to try them on, better a small one.
        input_shape: (channels, height, width) of an image.
        classes: Number of classes.

    Raises:
        CodeReferenceError: One of them raises, or does not do what its kind has to do.
    """
    named = [(name, references.given(name)) for name in references.named_in(among)]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, *input_shape), generator=generator, dtype=torch.uint8)
    bench = _Bench(architecture, input_shape, classes, images, torch.arange(IMAGES) % classes)
    for name, member in named:
        for kind, attempt in _ATTEMPTS.items():
            if isinstance(member, kind):
                with _told(name), torch.random.fork_rng(devices=[]):
                    attempt(name, member, bench)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (PruningError, CostError, _MemberError) as error:
        raise CodeReferenceError(f"{name} cannot be used: {error}") from None
    except (Exception, SystemExit) as error:  # whatever a user's code raises, or makes torch raise
        raise CodeReferenceError(f"{name} cannot be used: {references.why(error)}.") from None


class _MemberError(Exception):
    """Something that a member does without raising: the text says what it has to do."""


def _require(right: bool, text: str) -> None:
    if not right:
        raise _MemberError(text)


def _policy(name: str, policy: Policy, bench: _Bench) -> None:
    augmentation = Augmentation(flip=False, crop=0, policy=name, strength=policy.most)
    generator = torch.Generator().manual_seed(0)
    changed = policy.apply(bench.images.clone(), bench.labels.clone(), policy.most, bench.classes, generator)
    _require(
        isinstance(changed, tuple) and len(changed) == 2 and all(isinstance(one, Tensor) for one in changed),
        "it must give two tensors, images and targets.",
    )
    inputs, targets = augment(bench.images.clone(), bench.labels.clone(), augmentation, bench.classes, generator)
    wanted = (IMAGES, *bench.input_shape)
    _require(tuple(inputs.shape) == wanted, f"it gives images of shape {tuple(inputs.shape)} for {wanted}.")
    _require(inputs.dtype == torch.float32, f"it gives images of {inputs.dtype}, but they must be uint8 or float32.")
    shapes = ((IMAGES,), (IMAGES, bench.classes))
    _require(tuple(targets.shape) in shapes, f"it gives targets of shape {tuple(targets.shape)} for {shapes}.")
    loss = F.cross_entropy(torch.zeros(IMAGES, bench.classes), targets)
    finite = bool(torch.isfinite(inputs).all()) and bool(torch.isfinite(loss))
    _require(finite, "it gives images or targets that are not finite (NaN or infinity).")


def _optimizer(name: str, optimizer: Optimizer, bench: _Bench) -> None:
    network = bench.network().train()
    recipe = Recipe(optimizer=name, learning_rate=optimizer.learning_rate)
    made = optimizer.make(network, recipe)
    _require(
        isinstance(made, torch.optim.Optimizer),
        f"it gives a {type(made).__name__}, but must give a torch.optim.Optimizer.",
    )
    moved = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    wanted = {key: one for key, one in network.named_parameters() if one.requires_grad}
    left = [key for key, parameter in wanted.items() if id(parameter) not in moved]
    _require(not left, f"it leaves out {len(left)} of {len(wanted)} parameters, such as {next(iter(left), '')}.")
    F.cross_entropy(network(normalise(bench.images)), bench.labels).backward()  # type: ignore[no-untyped-call]
    made.step()
    restore_optimizer(optimizer.make(network, recipe), *flatten_optimizer(made))


def _decay(_name: str, decay: Decay, _bench: _Bench) -> None:
    for progress in (0.0, 0.5, 1.0):
        factor = decay.factor(progress)
        right = isinstance(factor, int | float) and math.isfinite(factor) and factor >= 0
        _require(right, f"at {progress:g} it gives {factor!r}, but must give a share of the learning rate, 0 or more.")


def _method(name: str, method: Method, bench: _Bench) -> None:
    network = bench.network()
    sample = Sample(normalise(bench.images), bench.labels)
    before = _numbers(network)
    if method.granularity == "weights":
        weight_importance(network, name, sample, 0)
    else:
        try:
            groups = find_groups(network, bench.input_shape, left=None if is_known(network) else {})
        except PruningError:  # this network has nothing to prune, which says nothing about the method
            return
        filter_importance(network, groups, name, sample, 0)
    _require_unchanged(network, before)
    if method.colour or method.marker:  # the picture is drawn when all is trained
        from matplotlib.colors import is_color_like
        from matplotlib.lines import Line2D

        _require(not method.colour or is_color_like(method.colour), f"{method.colour!r} is no colour of matplotlib.")
        _require(not method.marker or method.marker in Line2D.markers, f"{method.marker!r} is no marker of matplotlib.")


def _cost(name: str, cost: Cost, bench: _Bench) -> None:
    network = bench.network().eval()
    subject = Subject(network, bench.input_shape, score(network, bench.input_shape))
    before = _numbers(network)
    if cost.before_training:
        measure([name], subject)
    else:
        float(cost.measure(subject))  # of an untrained network it may be any number
    _require_unchanged(network, before)


def _numbers(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}


def _require_unchanged(network: nn.Module, before: Mapping[str, Tensor]) -> None:
    now = network.state_dict()
    changed = [key for key, tensor in before.items() if key not in now or not torch.equal(now[key], tensor)]
    _require(not changed, f"it changes the network, at {next(iter(changed), '')}: it may only look at it.")


_ATTEMPTS: Mapping[type, Callable[[str, Any, _Bench], None]] = {
    Policy: _policy,
    Optimizer: _optimizer,
    Decay: _decay,
    Method: _method,
    Cost: _cost,
}
