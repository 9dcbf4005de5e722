"""The yardstick for quantization-aware training: brevitas at W4A4 from the same dense weights as ours.

    python benchmarks/brevitas_environment.py runs/brevitas
    runs/brevitas/bin/python benchmarks/brevitas_w4a4.py --table DIR

DIR is where `quantization_table.py` ran: its dense network and settings are taken from there. Network, weights, images,
their order and augmentation, epochs, optimizer, learning rate, seed, number of threads and edges at 8 bits are those of
the table's row; only the quantizers are brevitas's, in one of two styles:

    default   as brevitas's documentation sets up training: weight steps follow the largest weight of a channel, input
              steps are learned from the 99.999 % quantile of the first 300 batches on
    learned   both steps are learned, from the least squared error on

Writes DIR/brevitas-STYLE.json; `quantization_report.py` joins the better one into the published summary.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import safetensors  # noqa: E402
import torch  # noqa: E402
from brevitas import __version__ as brevitas_version  # noqa: E402
from brevitas import nn as qnn  # noqa: E402
from brevitas.inject.enum import ScalingImplType  # noqa: E402
from brevitas.quant import scaled_int  # noqa: E402
from slimfront.evaluators.data.splits import search_data  # noqa: E402
from slimfront.evaluators.quantization import fine_tuning  # noqa: E402
from slimfront.evaluators.training.allocator import keep_freed_memory  # noqa: E402
from slimfront.evaluators.training.augmentation import normalise  # noqa: E402
from slimfront.evaluators.training.context import TrainContext  # noqa: E402
from slimfront.evaluators.training.loop import accuracy, train  # noqa: E402
from slimfront.models import build, layer_bits  # noqa: E402
from slimfront.models.network import Network, weight_layers  # noqa: E402
from slimfront.models.quantization.calibration import Observation, observe  # noqa: E402
from slimfront.models.quantization.conversion import IMAGE_LAYER  # noqa: E402
from slimfront.search.commands.scoring import read_candidate  # noqa: E402
from slimfront.spaces import Architecture, Bits  # noqa: E402
from torch import Tensor, nn  # noqa: E402

WIDTH, EDGES = 4, 8


class LearnedWeight(scaled_int.Int8WeightPerChannelFloatMSE):  # type: ignore[misc]
    """A learned step per output channel, from the least squared error on."""

    scaling_impl_type = ScalingImplType.PARAMETER_FROM_STATS
    narrow_range = False  # -8 to 7, as ours


class LearnedSigned(scaled_int.Int8ActPerTensorFloatMSE):  # type: ignore[misc]
    collect_stats_steps = 4


class LearnedUnsigned(scaled_int.Uint8ActPerTensorFloatMSE):  # type: ignore[misc]
    collect_stats_steps = 4


STYLES = {
    "default": (
        scaled_int.Int8WeightPerChannelFloat,
        scaled_int.Int8ActPerTensorFloat,
        scaled_int.Uint8ActPerTensorFloat,
    ),
    "learned": (LearnedWeight, LearnedSigned, LearnedUnsigned),
}


class Float32(nn.Module):
    """Keeps the network inside out of mixed precision, which would round a quantizer's grid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.network(x)
        return logits


def dense_network(folder: Path, architecture: Architecture, classes: int) -> tuple[Network, str]:
    """The table's dense network and the name of its file. Raises SystemExit where it is not there or not finished."""
    files = sorted(folder.glob("work/dense-*.safetensors"))
    if len(files) != 1:
        raise SystemExit(f"{folder}: there has to be one dense network in work/, but there are {len(files)}.")
    with safetensors.safe_open(files[0], "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        names = [name for name in file.keys() if name.startswith("network.")]  # noqa: SIM118 (not a dict)
        state = {name.removeprefix("network."): file.get_tensor(name) for name in names}
    if len(facts["done"]) < facts["epochs"]:
        raise SystemExit(f"{files[0]}: {len(facts['done'])} of {facts['epochs']} epochs are trained.")
    network = build(architecture, classes, seed=0)
    network.load_state_dict(state)
    return network, files[0].name


def convert(network: Network, widths: dict[str, tuple[int, int]], observed: dict[str, Observation], style: str) -> None:
    """Exchange the layers for brevitas's, with quantizers where ours would have them."""
    weight_quant, signed, unsigned = STYLES[style]
    for name, layer in weight_layers(network).items():
        weight_bits, input_bits = widths[name]
        options: dict[str, Any] = {
            "weight_quant": weight_quant,
            "weight_bit_width": weight_bits,
            "bias": layer.bias is not None,
        }
        if name != IMAGE_LAYER:  # the image lies on its 8-bit grid already
            options |= {
                "input_quant": signed if observed[name].signed else unsigned,
                "input_bit_width": input_bits,
            }
        if isinstance(layer, nn.Conv2d):
            new = qnn.QuantConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                **options,
            )
        else:
            new = qnn.QuantLinear(layer.in_features, layer.out_features, **options)
        new.load_state_dict(layer.state_dict(), strict=False)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--candidate", default="small_residual")
    parser.add_argument("--epochs", type=int, required=True, help="as the table's --aware-epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--style", choices=STYLES, default="default")
    parser.add_argument("--images", type=int, help="train on the first ones only: for a try")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    candidate = read_candidate(arguments.candidate)
    data = search_data("cifar10", data_dir=arguments.data_dir)
    network, dense = dense_network(arguments.table, candidate.architecture, data.classes)
    reference = accuracy(network, data.validation)
    widths = layer_bits(network, Bits.uniform(WIDTH, WIDTH, outer=EDGES))
    order = torch.randperm(len(data.train.labels), generator=torch.Generator().manual_seed(arguments.seed))[:512]
    batches = normalise(data.train.images[order]).split(128)
    convert(network, widths, observe(network, weight_layers(network), batches), arguments.style)
    wrapped = Float32(network)
    images = data.train if arguments.images is None else data.train.subset(torch.arange(arguments.images))
    start = time.perf_counter()
    curve = []
    context = TrainContext(
        images=images,
        validation=data.validation,
        recipe=fine_tuning(candidate.recipe, widths),
        augmentation=candidate.augmentation,
        classes=data.classes,
        seed=arguments.seed,
        epochs=arguments.epochs,
        phase="brevitas",
    )
    for epoch in train(wrapped, context):
        print(epoch, file=sys.stderr, flush=True)
        curve.append(dataclasses.asdict(epoch))
    found = {
        "weight_bits": WIDTH,
        "activation_bits": WIDTH,
        "edges": EDGES,
        "style": arguments.style,
        "accuracy": accuracy(wrapped, data.validation),
        "dense_accuracy": reference,
        "dense": dense,
        "brevitas": brevitas_version,
        "torch": torch.__version__,
        "epochs": arguments.epochs,
        "images": len(images.labels),
        "seed": arguments.seed,
        "seconds": round(time.perf_counter() - start, 1),
        "curve": curve,
    }
    path = arguments.table / f"brevitas-{arguments.style}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({key: value for key, value in found.items() if key != "curve"}))


if __name__ == "__main__":
    main()
