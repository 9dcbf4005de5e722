"""What makes training fast, mechanism by mechanism; how fast it is stands in benchmarks/."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators import pipeline
from slimfront.evaluators.data import loaded
from slimfront.evaluators.data.splits import Images
from slimfront.evaluators.job import Job
from slimfront.evaluators.training import allocator, augmentation
from slimfront.evaluators.training import loop as training
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import accuracy, half_precision, train
from slimfront.models import build
from slimfront.models.kernels import convolution, guard
from slimfront.models.kernels import library as kernels
from slimfront.models.network import weight_layers
from slimfront.models.quantization.calibration import observe
from slimfront.models.quantization.conversion import convert
from slimfront.search.job import evaluate_job
from slimfront.search.workers import local as workers
from slimfront.spaces import Architecture, Augmentation, Candidate, Recipe, presets
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05)
ARCHITECTURE = Architecture("residual", 4, 1, (4,), (1,), (1,), shortcut="padding")
PLAIN = Augmentation(flip=False, crop=0)


def _images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % 2)


def _train(network: nn.Module, count: int = 48, validation: Images | None = None, **other: object) -> None:
    context = TrainContext(_images(count), validation, RECIPE, PLAIN, classes=2, seed=0)
    list(train(network, dataclasses.replace(context, **other)))  # type: ignore[arg-type]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept() -> None:
    program = """
import ctypes, resource
from slimfront.evaluators.training.allocator import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def buffer(size=16 << 20):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    libc.free(place)
def of_ten_buffers():
    buffer()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        buffer()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
without = of_ten_buffers()
print(keep_freed_memory(), without, of_ten_buffers())
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    kept, without, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("no glibc here")
    assert int(faults) < 100 < int(without)  # pages


def test_workers_keep_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    def stub(*_: object) -> Iterator[None]:
        order.append("training")
        return iter(())

    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: order.append("allocator"))
    monkeypatch.setattr(pipeline, "evaluate", stub)
    monkeypatch.setattr(loaded, "search_data", lambda *wanted: None)
    list(evaluate_job(Job(candidate=Candidate(ARCHITECTURE), dataset="digits", seed=0)))
    assert order == ["allocator", "training"]


def test_no_image_is_converted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int] = []
    normalise = augmentation.normalise

    def counted(images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        converted.append(len(images))
        return normalise(images)

    monkeypatch.setattr(augmentation, "normalise", counted)
    monkeypatch.setattr(training, "normalise", counted)
    _train(build(ARCHITECTURE, 2, seed=0), 48, _images(20))
    assert converted == [16, 16, 16, 20] * RECIPE.epochs


@pytest.mark.parametrize("name", ["small_residual", "small_inverted", "small_dense"])
def test_tensors_stay_channels_last_through_every_layer_and_back(name: str) -> None:
    seen: list[bool] = []

    def is_last(tensor: Tensor) -> None:
        seen.append(tensor.stride(1) == 1)  # the gradient of a part of a concatenation lies in the whole, with gaps

    def watch(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        is_last(inputs[0])
        is_last(output)
        if output.requires_grad:
            output.register_hook(is_last)

    network = build(presets[name].architecture, 10, seed=0)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(watch)
    images = Images(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
    list(train(network, TrainContext(images, None, Recipe(epochs=1), PLAIN, classes=10, seed=0)))
    assert len(seen) == 3 * len(convolutions)
    assert all(seen)


def test_float32_trains_with_fewer_multiplications_and_ends_judged_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels.has_winograd():
        pytest.skip("no C compiler here, or not timed on such a processor")
    monkeypatch.setattr(training, "half_precision", lambda device: None)
    calls: list[tuple[bool, bool]] = []  # of the kernel: in training? turned to the gradient of the input?
    ours = convolution._winograd
    network = build(presets["resnet20"].architecture, 10, seed=0)

    def watched(*tensors: Tensor, turned: bool) -> None:
        calls.append((network.training, turned))
        ours(*tensors, turned=turned)

    monkeypatch.setattr(convolution, "_winograd", watched)
    images = Images(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
    list(train(network, TrainContext(images, images, Recipe(epochs=2), PLAIN, classes=10, seed=0)))
    accuracy(network, images)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    whole = [layer for layer in layers if layer.stride == (1, 1) and layer.in_channels > 3]
    assert len(whole) == 16  # of 19: but for the stem and two strided ones
    epoch = [(True, False)] * 16 + [(True, True)] * 16
    assert calls == epoch + [(False, False)] * 16 + epoch  # nothing after the last one, and in no final accuracy


class _Waits(TorchDispatchMode):
    """Counts the operations whose result the host has to wait for, as if the CPU were a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "_unique2", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name in self.WAITING:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("policy", ["none", "cutout", "mixup", "cutmix", "light"])
@pytest.mark.parametrize("quantized", [False, True])
def test_nothing_waits_for_the_device_within_an_epoch(
    policy: str, quantized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "library", lambda: None)  # a GPU has none of our kernels
    monkeypatch.setattr(training, "half_precision", lambda device: torch.bfloat16)
    network = build(ARCHITECTURE, 2, seed=0).to(memory_format=torch.channels_last)
    if quantized:
        layers = weight_layers(network)
        observed = observe(network, layers, [augmentation.normalise(_images(8).images)])
        bits = dict(zip(layers, [(8, 8), (2, 4), (1, 1), (16, 16)], strict=True))
        convert(network, bits, observed)
    augmented = Augmentation(flip=True, crop=1, policy=policy, strength=0.0 if policy == "none" else 0.5)
    recipe = Recipe(optimizer="muon", learning_rate=0.01, epochs=2, batch_size=16, averaging=0.9)
    with _Waits() as waits:
        _train(network, 48, augmentation=augmented, recipe=recipe)
    assert waits.found == ["_local_scalar_dense"] * recipe.epochs  # the epoch's loss


def test_slots_go_round_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    job = Job(candidate=Candidate(ARCHITECTURE), dataset="digits", seed=0)
    assert workers.on_its_gpu(job, 3) is job
    on_gpu = dataclasses.replace(job, device="cuda")
    assert [workers.on_its_gpu(on_gpu, slot).device for slot in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_compiling_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def stand_in(network: nn.Module, mode: str | None) -> nn.Module:
        modes.append(mode)
        return network

    monkeypatch.setattr(torch, "compile", stand_in)
    _train(build(ARCHITECTURE, 2, seed=0))
    assert modes == []
    monkeypatch.setenv("SLIMFRONT_COMPILE", "1")
    _train(build(ARCHITECTURE, 2, seed=0))
    assert modes == [None]
    training._compiled(nn.Identity(), torch.device("cuda"))
    assert modes == [None, "reduce-overhead"]  # with CUDA graphs


class _Precisions(nn.Module):
    """Notes in which precision it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build(ARCHITECTURE, 2, seed=0)
        self.seen: list[tuple[bool, torch.dtype]] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        self.seen.append((self.training, out.dtype))
        return out


def test_mixed_precision_is_chosen_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert half_precision(CPU) == expected
        network = _Precisions()
        _train(network)
        assert set(network.seen) == {(True, expected or torch.float32)}


def test_accuracies_that_count_are_measured_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    network = _Precisions()
    _train(network, validation=_images(20))
    judged = [dtype for training, dtype in network.seen if not training]
    assert judged == [torch.bfloat16, torch.bfloat16, torch.float32]  # the last epoch's stands in the record
    network.seen.clear()
    accuracy(network, _images(20))
    assert network.seen == [(False, torch.float32)]
