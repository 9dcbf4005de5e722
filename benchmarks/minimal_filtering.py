"""Milliseconds of 3x3 convolutions in float32: torch's (oneDNN) against ours, forward and back.

Ours is models/kernels/winograd.c.


    python benchmarks/minimal_filtering.py --out results/speed/minimal_filtering.json

One thread, a batch of 128, the fastest of several runs in turns; and the largest error of either's forward pass against
float64, as a share of the largest number.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from slimfront.evaluators.training.allocator import keep_freed_memory
from slimfront.models.kernels.convolution import Convolution
from slimfront.studies.environment import environment
from torch import Tensor

BATCH, ROUNDS = 128, 15
LAYERS = ((16, 16, 32), (32, 32, 16), (64, 64, 8), (20, 20, 16), (40, 40, 8), (80, 80, 4), (192, 192, 8), (512, 512, 4))
PARTS = ("forward", "backward")


def passes(channels: int, outputs: int, side: int, *, ours: bool) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """The layer forward, and back to both gradients."""
    torch.manual_seed(0)
    layer = Convolution(channels, outputs, 3, padding=1, bias=False)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(BATCH, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()

    def forward() -> Tensor:
        return layer(x) if ours else torch.conv2d(x, layer.weight, None, padding=1)

    y = forward()
    assert ("Winograd" in str(y.grad_fn)) == ours, "the kernels are not there"
    gradient = torch.randn_like(y)
    return forward, lambda: torch.autograd.backward(y, gradient, retain_graph=True, inputs=[x, layer.weight])


def error(channels: int, outputs: int, side: int, *, ours: bool) -> float:
    """Largest of the forward pass, against float64."""
    y = passes(channels, outputs, side, ours=ours)[0]()
    torch.manual_seed(0)
    weight = Convolution(channels, outputs, 3, padding=1, bias=False).weight.double()
    x = torch.randn(BATCH, channels, side, side).double()
    exact = torch.conv2d(x, weight.detach(), None, padding=1)
    return float((y.detach().double() - exact).abs().max() / exact.abs().max())


def measure(channels: int, outputs: int, side: int) -> dict[str, object]:
    both = [passes(channels, outputs, side, ours=ours) for ours in (False, True)]
    best = [[float("inf")] * len(PARTS) for _ in both]
    for _ in range(ROUNDS):
        for works, fastest in zip(both, best, strict=True):
            for index, work in enumerate(works):
                start = time.perf_counter()
                work()
                fastest[index] = min(fastest[index], time.perf_counter() - start)
    row: dict[str, object] = {"channels": channels, "outputs": outputs, "side": side}
    for index, (torch_seconds, our_seconds) in enumerate(zip(*best, strict=True)):
        row[PARTS[index]] = {
            "torch_ms": round(1000 * torch_seconds, 2),
            "ours_ms": round(1000 * our_seconds, 2),
            "ratio": round(torch_seconds / our_seconds, 2),
        }
    row["error"] = {name: error(channels, outputs, side, ours=name == "ours") for name in ("torch", "ours")}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = [measure(*layer) for layer in LAYERS]
    found = {
        "command": shlex.join(["python", "benchmarks/minimal_filtering.py", *sys.argv[1:]]),
        **environment(),
        "batch": BATCH,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
