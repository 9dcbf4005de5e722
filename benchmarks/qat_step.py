"""Seconds of a quantization-aware training step against the float step of the same network.

Both networks stand side by side in one process and take turns, so that a drifting clock hits both alike; the ratio
is that of the medians. A step is forward, loss, backward and SGD on one fixed random batch, in the precision that the
loop trains in.

    python benchmarks/qat_step.py --networks small_residual small_inverted --threads 1 2
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.evaluators.training.loop import half_precision
from slimfront.models import build, layer_bits
from slimfront.models.network import Network, weight_layers
from slimfront.models.quantization.calibration import observe
from slimfront.models.quantization.conversion import convert
from slimfront.spaces import presets
from slimfront.spaces.candidate import Bits
from torch import Tensor, nn

CLASSES = 10


def networks(name: str, bits: int, inputs: Tensor) -> tuple[Network, Network]:
    """The float network and the quantized one, with the same weights."""
    pair = []
    for width in (32, bits):
        network = build(presets[name].architecture, CLASSES, seed=0).to(memory_format=torch.channels_last)
        with torch.no_grad():  # batch statistics, so that calibration sees sensible numbers
            network(inputs)
        if width < 32:
            widths = layer_bits(network, Bits.uniform(width, width, outer=8))
            convert(network, widths, observe(network, weight_layers(network), [inputs[:32]]))
            network.to(memory_format=torch.channels_last)
        pair.append(network.train())
    return pair[0], pair[1]


def step_of(network: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, foreach=True)

    half = half_precision(torch.device("cpu"))

    def step() -> None:
        with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
            loss = F.cross_entropy(network(inputs), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def measure(name: str, bits: int, threads: int, batch: int, rounds: int, inner: int) -> dict[str, object]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    inputs = torch.randn(batch, 3, 32, 32).mul_(64).round_().clamp_(-128, 127).div_(64)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,))
    steps = [step_of(network, inputs, labels) for network in networks(name, bits, inputs)]
    times: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for step, seconds in zip(steps, times, strict=True):
            start = time.perf_counter()
            for _ in range(inner):
                step()
            if number:  # the first round warms up
                seconds.append((time.perf_counter() - start) / inner)
    plain, quantized = (statistics.median(seconds) for seconds in times)
    return {
        "network": name,
        "bits": bits,
        "threads": threads,
        "batch": batch,
        "float_seconds": round(plain, 5),
        "quantized_seconds": round(quantized, 5),
        "ratio": round(quantized / plain, 3),
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["small_residual", "small_inverted"])
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--inner", type=int, default=3, help="steps a round")
    options = parser.parse_args()
    keep_freed_memory()
    rows = [
        measure(name, options.bits, threads, options.batch, options.rounds, options.inner)
        for name in options.networks
        for threads in options.threads
    ]
    for row in rows:
        print(
            "{network:15} {threads} threads  {float_seconds:.4f} s -> {quantized_seconds:.4f} s".format(**row),
            file=sys.stderr,
        )
    print(json.dumps({"torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
