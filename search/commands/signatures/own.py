"""What is done with networks of the user's own, and with pictures: `compress`, `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from slimfront.search.commands.failures import FAILED
from slimfront.search.commands.signatures import options as given
from slimfront.search.commands.signatures.options import Allow, Arguments, AsJson, DataDir, Device
from slimfront.search.commands.signatures.output import print_json


def compress(
    network: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="The network's class, or what makes it.")],
    data: Annotated[str, typer.Option(help="Data set to fine-tune and to measure on, such as folder:pictures.")],
    out: Annotated[Path, typer.Option(help="File to write; ends in .slim.")],
    weights: Annotated[
        Path | None, typer.Option(help="Its trained weights: a state dict, .safetensors or torch's own.")
    ] = None,
    arg: Arguments = None,
    weight_bits: Annotated[int, typer.Option(help="Of every layer but the first and the last.")] = 32,
    activation_bits: Annotated[int | None, typer.Option(help="Of every layer's input; default: as weights.")] = None,
    layer_bits: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=W/A", help="Of layers by name, such as 'features.*=4/8'; several times."),
    ] = None,
    prune: Annotated[str, typer.Option(metavar="METHOD:RATIO", help="Such as taylor:0.5; default: nothing.")] = "",
    epochs: Annotated[int, typer.Option(min=0, help="Of fine-tuning, in all.")] = 10,
    learning_rate: Annotated[
        float | None, typer.Option(help="It was, or would be, trained at; fine-tuning takes less. Default: 0.02.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of an image folder's pictures.")] = None,
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[Device, typer.Option(help="Where it trains.")] = Device.auto,
    as_json: AsJson = False,
) -> None:
    """Prune, quantize and fine-tune a network of your own; write it as one small file."""
    from slimfront.search.commands.own_networks import CompressOptions, compress_file, print_compressed

    facts = compress_file(
        CompressOptions(
            reference=network,
            arguments=arg or (),
            weights=weights,
            dataset=data,
            data_dir=data_dir,
            image_size=image_size,
            out=out,
            prune=prune,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            layer_bits=layer_bits or (),
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            device=device.value,
        )
    )
    if as_json:
        print_json(facts)
    else:
        print_compressed(facts, data)
    if facts["problems"]:
        raise typer.Exit(FAILED)


def predict(
    artifact: Annotated[Path, typer.Argument(help="A .slim file.", metavar="ARTIFACT")],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", metavar="PICTURES...")],
    top: Annotated[int, typer.Option(min=1, help="Classes that are shown of each.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Classify pictures: the likeliest classes, with probabilities."""
    from slimfront.search.commands.predicting import predict_files, print_predicted

    given.give(allow)
    facts = predict_files(artifact, pictures, top)
    if as_json:
        print_json(facts)
    else:
        print_predicted(facts, as_csv=as_csv)
