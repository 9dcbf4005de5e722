"""Multiply-adds (MACs) of a network, by counters that must agree, and never zero by ignorance.

thop looks its rules up by a module's exact type and counts nothing for a type that it does not know: a subclass of
nn.Conv2d, a parametrized one and F.conv2d are free of charge. So every convolution and linear layer gets our rule,
whatever its exact type. Beside it every operation that runs is looked up in one table (`operations`), which says how
many multiply-adds it takes, or that it is cheap; one that is not there is refused. The two must agree on every layer.
What multiplies in other modules (attention, a matrix product, a recurrent cell) is counted by the table alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from slimfront.evaluators.scoring.watching import Key, UnknownOperationError, Watch, Work, key_of
from slimfront.models.network import WeightLayer, weight_layers
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # thop's distutils
    import thop
    from thop.profile import register_hooks as _THOP_RULES

LAYER_PARAMETERS = {"weight", "bias", "weight_orig", "bias_orig"}  # _orig: masked by torch.nn.utils.prune
_THOPS = ("total_ops", "total_params")  # buffers that thop gives every module for a while


class ScoreError(ValueError):
    """A network, or numbers, that cannot be scored."""


@dataclass(frozen=True)
class Product:
    """A module that multiplies and is neither a convolution nor a linear layer.

    Attributes:
        name: Where it is in the network; "" for the network itself.
        module: The module.
        macs: Multiply-adds of one image, without those of modules within it.
        weights: How many numbers each tensor has that it multiplies by and that does not follow from the image.
    """

    name: str
    module: nn.Module
    macs: int
    weights: dict[Key, int]


@dataclass(frozen=True)
class Counts:
    """Multiply-adds of one image.

    Attributes:
        layers: Of every convolution and linear layer, by name.
        products: Of what multiplies beside them.
    """

    layers: dict[str, int]
    products: tuple[Product, ...] = field(default=())


def count_macs(network: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """Multiply-adds for one image of every convolution and linear layer, by name. Arguments and errors as `count`."""
    return count(network, input_shape).layers


def count(network: nn.Module, input_shape: Sequence[int]) -> Counts:
    """Multiply-adds for one image.

    Biases, norms, activations, pooling and sums count nothing. A shared layer counts at every use, under its first
    name; one that does not run counts none. One image of zeros runs through the network in evaluation mode; the network
    is the same afterwards.

    Args:
        network: any module that maps (N, *input_shape) to a tensor.
        input_shape: of one image, (channels, height, width); of other data whatever the network takes.

    Raises:
        ScoreError: the network cannot take such an image, it runs an operation that is not in the table, a layer does
            more than its shape says, a module has never run and knows no shape yet, or nothing in it multiplies.
    """
    shape = _checked(input_shape)
    _check_attributes(network)
    layers = weight_layers(network)
    image = _blank(network, shape)
    watch = Watch(image)  # type: ignore[no-untyped-call]
    ours = dict.fromkeys(layers, 0)
    try:
        # One pass for each counter: thop's own bookkeeping is many small operations, slow where each is followed. In
        # the second one nothing is followed.
        with one_thread(), _step_by_step(), unchanged(network):
            network.eval()
            _follow(network, watch)
            with watch:
                network(image)
            thop.profile(network, inputs=(image,), custom_ops=_rules(network, _layer_rule(layers, ours)), verbose=False)
    except UnknownOperationError as error:
        running = watch.running[-1] if watch.running else network
        raise ScoreError(
            f"{_called(network, running)} runs {error}, of which it is not known how many multiply-adds it takes: "
            "use another operation there."
        ) from None
    except ScoreError:
        raise
    except Exception as error:  # whatever a network of somebody's own raises where an image does not suit it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        told = (
            reason if isinstance(error, RuntimeError | ValueError | TypeError) else f"{type(error).__name__}: {reason}"
        )
        raise ScoreError(f"the network cannot take an image of shape {shape}: {told}") from error
    return _compared(network, layers, ours, watch.work)


def _checked(input_shape: Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if not shape or not all(type(size) is int and size > 0 for size in shape):
        raise ScoreError(
            f"input_shape must be (channels, height, width), positive whole numbers, but got {input_shape!r}."
        )
    return shape


def _check_attributes(network: nn.Module) -> None:
    """Refuse what cannot run, or could not be told from a counter's own marks."""
    for name, module in network.named_modules():
        where = f"{name or 'the network itself'} ({type(module).__name__})"
        for parameter in (*module._parameters.values(), *module._buffers.values()):
            if parameter is not None and is_lazy(parameter):
                raise ScoreError(
                    f"{where} has never run and knows no shape yet: run an image through the network first."
                )
        for attribute in _THOPS:
            if attribute in module.__dict__ or attribute in module._buffers or attribute in module._parameters:
                raise ScoreError(
                    f"{where} has an attribute {attribute}, which the counter needs for itself: rename it."
                )


def _follow(network: nn.Module, watch: Watch) -> None:
    """Let the watch know which module runs; what runs inside of a layer is the layer's."""
    layers = {id(part) for layer in weight_layers(network).values() for part in layer.modules() if part is not layer}

    def begin(module: nn.Module, _inputs: Any) -> None:
        watch.running.append(module)

    def end(module: nn.Module, _inputs: Any, _output: Any) -> None:
        watch.running.pop()

    for module in dict.fromkeys(network.modules()):
        if id(module) not in layers:
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(end)


def _layer_rule(layers: dict[str, WeightLayer], ours: dict[str, int]) -> Callable[..., None]:
    """thop's rule for a layer: as many multiply-adds for every output value as it has weights for one."""
    names = {layer: name for name, layer in layers.items()}
    for_one = {layer: layer.weight.numel() // max(1, layer.weight.shape[0]) for layer in names}
    seen: dict[nn.Module, Tensor] = {}

    def rule(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if seen.get(module) is output:  # thop asks once for every place where a layer stands
            return
        seen[module] = output
        macs = output.numel() * for_one[cast(WeightLayer, module)]
        cast(Tensor, module.total_ops).add_(macs)  # thop's own sum, a buffer
        ours[names[cast(WeightLayer, module)]] += macs

    return rule


def _compared(
    network: nn.Module, layers: dict[str, WeightLayer], ours: dict[str, int], work: dict[nn.Module | None, Work]
) -> Counts:
    """The counts, if both counters agree on every layer."""
    for name, layer in layers.items():
        ran = work.get(layer, Work()).macs
        if ours[name] != ran:
            raise ScoreError(
                f"{name} ({type(layer).__name__}) does {ran:,} multiply-adds by torch's count, but a "
                f"layer of its shape needs {ours[name]:,}: put what it does beyond that into layers of its own."
            )
    products = tuple(
        Product(name, module, work[module].macs, work[module].weights)
        for name, module in network.named_modules()
        if module in work and name not in layers
    )
    if not layers and not any(product.weights for product in products):
        raise ScoreError("the network has no layer with weights: there is nothing to score.")
    return Counts(ours, products)


@contextmanager
def _step_by_step() -> Iterator[None]:
    """Attention runs by operations that are in the table, not as a whole layer at once."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def one_thread() -> Iterator[None]:
    """One image is too little work for several threads, and beside running trainings they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Whatever runs inside leaves the network and torch's random numbers as they were.

    Modes, hooks, buffers and attributes are put back, and the values of buffers and of all parameters that are no
    layer's weight (a quantizer may calibrate its scale at its first forward pass).
    """
    modules = list(network.modules())
    attributes = [(module, dict(module.__dict__)) for module in modules]
    inner = [
        (value, value.copy()) for _, saved in attributes for value in saved.values() if isinstance(value, (dict, set))
    ]
    small = [
        tensor
        for module in modules
        for name, tensor in (*module._buffers.items(), *module._parameters.items())
        if tensor is not None and not (isinstance(module, WeightLayer) and name in LAYER_PARAMETERS)
    ]
    values = [(tensor, tensor.detach().clone()) for tensor in small]
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            yield
    finally:
        for module, saved in attributes:
            module.__dict__.clear()
            module.__dict__.update(saved)
        for container, content in inner:
            container.clear()
            container.update(content)
        with torch.no_grad():
            for tensor, value in values:
                if tensor.shape != value.shape:  # an observer's, which grows with what it sees
                    tensor.data = value
                elif not torch.equal(tensor, value):
                    tensor.copy_(value)


def _rules(network: nn.Module, rule: Callable[..., None]) -> dict[type, Callable[..., None]]:
    """A rule for the exact type of every layer; and nothing for what thop would count beside them (norms, pooling)."""
    rules: dict[type, Callable[..., None]] = {}
    for module in network.modules():
        if isinstance(module, WeightLayer):
            rules[type(module)] = rule
        elif type(module) in _THOP_RULES:
            rules[type(module)] = _nothing
    return rules


def _nothing(_module: nn.Module, _inputs: Any, _output: Any) -> None:
    """thop's rule for what does not multiply weights."""


def _blank(network: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    parameter = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
    return torch.zeros((1, *input_shape), dtype=parameter.dtype, device=parameter.device)


def _called(network: nn.Module, module: nn.Module) -> str:
    """ "NAME (TYPE)" of a module."""
    name = next((name for name, found in network.named_modules() if found is module), "")
    return f"{name or 'the network itself'} ({type(module).__name__})"


__all__ = ["LAYER_PARAMETERS", "Counts", "Product", "ScoreError", "count", "count_macs", "key_of", "one_thread"]
