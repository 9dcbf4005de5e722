"""Weights and multiply-adds (MACs) of a network, by two counters that must agree, and never zero by ignorance.

thop looks its rules up by a module's exact type and counts nothing for a type that it does not know: a subclass of
nn.Conv2d, a parametrized one and F.conv2d are free of charge. So every convolution and linear layer gets our rule,
whatever its exact type; torch's formulas (`torch.utils.flop_counter.flop_registry`) count the operations that really
run; where the two differ, or where a module owns parameters that no rule knows, that is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from slimfront.models.network import WeightLayer, weight_layers
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # thop's distutils
    import thop
    from thop.profile import register_hooks as _THOP_RULES

_LAYER_PARAMETERS = {"weight", "bias", "weight_orig", "bias_orig"}  # _orig: masked by torch.nn.utils.prune


class ScoreError(ValueError):
    """A network, or numbers, that cannot be scored."""


def check_known(network: nn.Module) -> None:
    """Make sure that a rule knows every parameter.

    Known are weights and biases of nn.Conv2d and nn.Linear (subclasses, masked and parametrized ones, too), batch norm,
    and whatever a module that declares `score_kind = "scale"` owns: quantizer scales, which only the strict score
    counts.

    Raises:
        ScoreError: names the first module with another parameter, and its type.
    """
    layers = weight_layers(network)
    for name, module in network.named_modules():
        own = {key for key, parameter in module._parameters.items() if parameter is not None}
        if name in layers:
            own -= _LAYER_PARAMETERS
        of_layer = name.rpartition(".parametrizations.")[0] in layers
        known = isinstance(module, _BatchNorm) or (isinstance(module, ParametrizationList) and of_layer)
        if own and not known and getattr(module, "score_kind", None) != "scale":
            raise ScoreError(
                f"{name or 'the network itself'} ({type(module).__name__}) has parameters that no rule counts: "
                f'{", ".join(sorted(own))}. Use nn.Conv2d or nn.Linear, or score_kind = "scale" for quantizer scales.'
            )


def count_macs(network: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-adds for one image, by layer: {name: MACs} of every convolution and linear layer.

    Biases, norms, activations, pooling and sums count nothing. A shared layer counts at every use, under its first
    name. One image of zeros runs through the network in evaluation mode; the network is the same afterwards.

    Args:
        network: any module that maps (N, C, H, W) to a tensor.
        input_shape: (channels, height, width) of one image.

    Raises:
        ScoreError: the network cannot take such an image, or the counters differ: something multiplies outside layers.
    """
    input_shape = cast(tuple[int, int, int], tuple(input_shape))
    if len(input_shape) != 3 or not all(type(size) is int and size > 0 for size in input_shape):
        raise ScoreError(
            f"input_shape must be (channels, height, width), positive whole numbers, but got {input_shape!r}."
        )
    layers = weight_layers(network)
    names = {module: name for name, module in layers.items()}
    macs_of_output = {module: module.weight[0].numel() for module in names}  # one dot product for every output value
    ours = dict.fromkeys(layers, 0)
    flops: dict[nn.Module, int] = dict.fromkeys(network.modules(), 0)  # by torch's formulas, with what is inside
    counter = _OperationCounter()  # type: ignore[no-untyped-call]

    def begin(module: nn.Module, _inputs: Any) -> None:
        flops[module] -= counter.flops

    def end(module: nn.Module, _inputs: Any, _output: Any) -> None:
        flops[module] += counter.flops

    def rule(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        macs = output.numel() * macs_of_output[cast(WeightLayer, module)]
        cast(Tensor, module.total_ops).add_(macs)  # thop's own sum, a buffer
        ours[names[cast(WeightLayer, module)]] += macs

    image = _blank(network, input_shape)
    try:
        # One pass for each counter: thop's own bookkeeping is many small operations, slow under torch's counter. In
        # the second one torch's counter stands still.
        with one_thread(), unchanged(network):
            network.eval()
            for module in flops:
                module.register_forward_pre_hook(begin)
                module.register_forward_hook(end)
            with counter:
                network(image)
            total, _ = thop.profile(network, inputs=(image,), custom_ops=_rules(network, rule), verbose=False)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ScoreError(f"the network cannot take an image of shape {input_shape}: {reason}") from error
    torchs = {name: flops[layer] // 2 for name, layer in layers.items()}  # torch counts a multiply-add as two
    for name in layers:
        if ours[name] != torchs[name]:
            raise ScoreError(
                f"{name} ({type(layers[name]).__name__}) does {torchs[name]:,} multiply-adds by torch's count, but a "
                f"layer of its shape needs {ours[name]:,}: put what it does beyond that into layers of its own."
            )
    everything = counter.flops // 2
    if not sum(ours.values()) == int(total) == everything:
        raise ScoreError(
            f"{_culprit(network, flops)} multiplies outside of convolution and linear layers: torch counts "
            f"{everything:,} multiply-adds, the layers have {sum(ours.values()):,} (thop {int(total):,}). "
            "Use nn.Conv2d or nn.Linear there."
        )
    return ours


class _Formulas:
    """Counts the floating-point operations of every torch operation that passes, by torch's own formulas.

    A class beside the mode: torch wraps the method of a class that is itself a dispatch mode, so that torch.compile
    leaves it alone, and imports the whole compiler for it at the first operation. That takes seconds, of a command that
    takes two.
    """

    flops = 0

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, taken apart into those that there are formulas for where it has none itself."""
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:
            with cast(TorchDispatchMode, self):
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        out = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out


class _OperationCounter(_Formulas, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The formulas as a mode: `with` it, every operation is counted."""


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
        if tensor is not None and not (isinstance(module, WeightLayer) and name in _LAYER_PARAMETERS)
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
                if not torch.equal(tensor, value):
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


def _blank(network: nn.Module, input_shape: tuple[int, int, int]) -> Tensor:
    parameter = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
    return torch.zeros((1, *input_shape), dtype=parameter.dtype, device=parameter.device)


def _culprit(network: nn.Module, done: Mapping[nn.Module, int]) -> str:
    """The deepest module that does more than its children and is no layer: 'NAME (TYPE)'."""
    found = type(network).__name__
    for name, module in network.named_modules():
        children = sum(done.get(child, 0) for child in module.children())
        if not isinstance(module, WeightLayer) and done.get(module, 0) > children:
            found = f"{name or 'the network itself'} ({type(module).__name__})"
    return found
