"""Networks that nobody here wrote, the whole way: trained, scored, halved, quantized, saved, verified, exported.

    python benchmarks/own_networks.py --out results/own_networks

Each network of NETWORKS is trained on CIFAR-10 (or on --dataset), loses half of its filters and goes to 4 bits with
`slimfront.compress`, which fine-tunes; then its file is verified, loaded, and exported, and ONNX Runtime's answers are
compared on validation images. At last the width of the network with modules of its own (`own_nets/models/`) is
searched, and the best is retrained. What is asked of each stands in `verdicts`.

Everything lies in --work: trainings go on from their last epoch, and finished steps are not done again, so the same
command goes on wherever it was stopped. No test image is looked at but by `retrain`, once a seed.

It is tried in minutes with

    python benchmarks/own_networks.py --out tried --work runs/tried --epochs 1 --fine-tuning 2 --images 512 --trials 1
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from slimfront.evaluators import outputs  # noqa: E402
from slimfront.evaluators.artifacts import onnx_export  # noqa: E402
from slimfront.evaluators.artifacts.artifact import load  # noqa: E402
from slimfront.evaluators.artifacts.verify import verify  # noqa: E402
from slimfront.evaluators.data.images import Images  # noqa: E402
from slimfront.evaluators.data.splits import SearchData, search_data  # noqa: E402
from slimfront.evaluators.own_network import RECIPE, architecture_from, compress  # noqa: E402
from slimfront.evaluators.scoring.score import score  # noqa: E402
from slimfront.evaluators.starting import first_network, load_into  # noqa: E402
from slimfront.evaluators.training.allocator import keep_freed_memory  # noqa: E402
from slimfront.evaluators.training.augmentation import normalise  # noqa: E402
from slimfront.evaluators.training.context import TrainContext  # noqa: E402
from slimfront.evaluators.training.loop import accuracy, train  # noqa: E402
from slimfront.search.commands import cli  # noqa: E402
from slimfront.spaces import Augmentation, Recipe, references  # noqa: E402
from slimfront.studies.environment import environment  # noqa: E402
from torch import nn  # noqa: E402

NETS = Path(__file__).parent / "own_nets" / "nets.py"
SGD = Recipe(learning_rate=0.1, batch_size=128)
# Without batch norm, a network diverges at such a learning rate.
NETWORKS = {
    "resnet18": SGD,
    "mobilenet_v2": SGD,
    "squeezenet1_1": Recipe(optimizer="adamw", learning_rate=1e-3, weight_decay=1e-2, batch_size=128),
    "shufflenet_v2_x0_5": SGD,
    "narrow_resnet": SGD,
}
SEARCHED = "narrow_resnet"
LEAST_ACCURACY = 0.6  # of the validation images, before compression
AGREEMENT = 0.99  # share of the compared images that ONNX Runtime puts into the same class
TOLERANCE = 0.02  # largest difference of a logit, as a share of the largest logit
COMPARED = 1000  # validation images

STUDY = """
name = "own_networks"
dataset = "{dataset}"
bar = {bar}
trials = {trials}
[space.architecture]
family = "{nets}:{searched}"
[space.architecture.{table}]
width = [8, 12, 16, 20, 24]
[space.pruning.filters]
method = "taylor"
ratio = 0.5
epochs = {half}
[space.bits]
weights = 4
activations = 4
epochs = {half}
[space.recipe]
epochs = {epochs}
sgd.learning_rate = 0.1
"""


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a step came to: from its file, where it was finished before."""
    if not path.exists():
        outputs.write(path, json.dumps(make(), indent=1, allow_nan=False) + "\n")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Way:
    """The way of one network through the engine; every method is a step, and gives what it came to."""

    def __init__(self, name: str, data: SearchData, arguments: argparse.Namespace) -> None:
        self._name, self._data, self._arguments = name, data, arguments
        self._folder = arguments.work / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._reference = f"{NETS.name}:{name}"
        self._weights, self._file = self._folder / "weights.safetensors", self._folder / f"{name}.slim"

    def run(self) -> dict[str, Any]:
        steps = {"trained": self.trained, "compressed": self.compressed, "file": self.file}
        found = {step: kept(self._folder / f"{step}.json", make) for step, make in steps.items()}
        return {"network": self._name, **found}

    def _network(self) -> nn.Module:
        architecture = architecture_from(self._reference, {})
        return first_network(architecture, self._data.input_shape, self._data.classes, seed=0)

    def trained(self) -> dict[str, Any]:
        """Train from fresh weights; the state after every epoch is kept."""
        start, network = time.perf_counter(), self._network()
        context = TrainContext(
            images=self._data.train,
            validation=self._data.validation,
            recipe=dataclasses.replace(NETWORKS[self._name], epochs=self._arguments.epochs),
            augmentation=Augmentation(),
            classes=self._data.classes,
            seed=0,
            device=torch.device(self._arguments.device),
            checkpoint=self._folder / "training.safetensors",
        )
        epochs = []
        for epoch in train(network, context):
            say(f"{self._name}: epoch {epoch.epoch} of {epoch.epochs}: {epoch.accuracy}")
            epochs.append(epoch)
        network.cpu()
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, self._weights)
        counted = score(network, self._data.input_shape)
        return {
            "accuracy": epochs[-1].accuracy,
            "epochs": len(epochs),
            "seconds": round(sum(epoch.seconds for epoch in epochs), 1),
            "weights": counted.weights,
            "macs": counted.macs,
            "score": counted.score,
            "this_run_seconds": round(time.perf_counter() - start, 1),
        }

    def compressed(self) -> dict[str, Any]:
        """Half of the filters, 4 bits, fine-tuned, saved."""
        network = self._network()
        load_into(network, self._weights)
        adamw = NETWORKS[self._name].optimizer == "adamw"
        found = compress(
            network,
            self._data,
            prune="taylor:0.5",
            weight_bits=4,
            epochs=self._arguments.fine_tuning,
            recipe=dataclasses.replace(RECIPE, optimizer="adamw", learning_rate=1e-3) if adamw else RECIPE,
            augmentation=Augmentation(),
            reference=self._reference,
            arguments={},
            device=self._arguments.device,
            on_epoch=lambda epoch: say(
                f"{self._name}: {epoch.stage} {epoch.epoch} of {epoch.epochs}: {epoch.accuracy}"
            ),
        )
        size = found.save(self._file)
        return {**found.to_dict(), "bytes": size}

    def file(self) -> dict[str, Any]:
        """What the file says, without what was in memory: verified, loaded, exported."""
        told = verify(self._file)
        artifact = load(self._file)
        shown = _first(self._data.validation, COMPARED)
        target = self._file.with_suffix(".onnx")
        size = onnx_export.export(artifact.network, target, artifact.input_shape, self._data.class_names)
        images = normalise(shown.images)
        with torch.inference_mode():
            ours = torch.cat([artifact.network(part) for part in images.split(250)])
        theirs = onnx_export.run(target, images)
        return {
            "verified": told.ok,
            "problems": list(told.problems),
            "accuracy": accuracy(artifact.network, self._data.validation, "cpu"),
            "onnx_bytes": size,
            "compared": len(shown),
            "agreement": float((ours.argmax(1) == theirs.argmax(1)).float().mean()),
            "difference": float((ours - theirs).abs().max() / ours.abs().max()),
        }


def _first(images: Images, count: int) -> Images:
    return images.subset(torch.arange(min(count, len(images))))


def verdicts(row: dict[str, Any]) -> dict[str, bool]:
    """What is asked of a network, and whether it is so."""
    trained, compressed, file = row["trained"], row["compressed"], row["file"]
    return {
        "trained": trained["accuracy"] >= LEAST_ACCURACY,
        "halved": compressed["stored_weights"] <= 0.55 * trained["weights"],
        "verified": file["verified"],
        "loaded": abs(file["accuracy"] - compressed["accuracy"]) < 1e-6,
        "same_predictions": file["agreement"] >= AGREEMENT,
        "same_logits": file["difference"] <= TOLERANCE,
    }


def searched(arguments: argparse.Namespace) -> dict[str, Any]:
    """A search over the width of a network with modules of its own, and its best retrained."""
    folder = (arguments.work / "search").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    study, storage = folder / "own_networks.toml", f"sqlite:///{folder}/study.db"
    values = {"dataset": arguments.dataset, "trials": arguments.trials, "epochs": arguments.search_epochs}
    values |= {"half": arguments.search_epochs // 4, "bar": LEAST_ACCURACY if arguments.images is None else 0.01}
    values |= {"nets": NETS.absolute(), "searched": SEARCHED, "table": SEARCHED}
    study.write_text(STUDY.format(**values))
    place = ["--storage", storage, "--json"]
    data = [] if arguments.data_dir is None else ["--data-dir", str(arguments.data_dir)]
    front = _told("search", str(study), "--out", str(folder / "out"), "--device", arguments.device, *place, *data)
    best = max(front["front"] or front["nearest"], key=lambda row: row["accuracy"])
    words = ["retrain", "--trial", str(best["trial"]), "--seeds", "1", "--epochs", str(2 * arguments.search_epochs)]
    words += ["--allow", f"{NETS}:{SEARCHED}", "--out", str(folder / "final"), "--device", arguments.device]
    final = _told(*words, *place, *data)
    return {
        "trials": front["trials"],
        "widths": "8, 12, 16, 20, 24",
        "best": {key: best[key] for key in ("trial", "network", "accuracy", "score")},
        "retrained": {key: final[key] for key in ("mean", "score", "strict_score", "verified")},
    }


def _told(*words: str) -> dict[str, Any]:
    """What a command prints as JSON. Raises SystemExit where it fails, having said why."""
    text = io.StringIO()
    with redirect_stdout(text):
        code = cli.main(list(words))
    if code:
        raise SystemExit(code)
    found: dict[str, Any] = json.loads(text.getvalue())
    return found


def readme(summary: dict[str, Any]) -> str:
    """The page beside the numbers."""
    compared, images = f"{summary['compared']:,}", f"{summary['validation_images']:,}"
    lines = [
        "# Networks that nobody here wrote",
        "",
        f"    {summary['command']}",
        "",
        f"Every network was trained on {summary['dataset']}, lost half of its filters (`taylor:0.5`), went to 4 bits,",
        f"and was fine-tuned for {summary['fine_tuning']} epochs. Accuracies are those of the {images} validation",
        "images, from one seed. Each file was verified, loaded and exported. The last columns compare ONNX Runtime on",
        f"{compared} of these images; a difference is a share of the largest logit.",
        "",
        *_table(summary["networks"]),
        *(line for row in summary["networks"] for line in ("", f"**{row['network']}**: {_remarks(row)}.")),
    ]
    found = summary["search"]
    if found is not None:
        best, final = found["best"], found["retrained"]
        verified = "was verified" if final["verified"] else "was not verified"
        lines += [
            "",
            f"A search of {found['trials']['complete']} trials over the width of {SEARCHED} ({found['widths']}),",
            f"halved and at 4 bits, found {best['network']} with {best['accuracy']:.2%}.",
            f"Retrained on all training images it classifies {final['mean']:.2%} of the test images right,",
            f"at a score of {final['score']:.4g}; its file {verified}.",
        ]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    heads = ("network", "trained", "compressed", "weights", "multiply-adds", "score", "bytes", "same", "difference")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        trained, small, file = row["trained"], row["compressed"], row["file"]
        cells = (
            row["network"],
            f"{trained['accuracy']:.2%}",
            f"{small['accuracy']:.2%}",
            f"{trained['weights']:,} -> {small['stored_weights']:,}",
            f"{trained['macs']:,} -> {small['macs']:,}",
            f"{trained['score']:.4g} -> {small['score']:.4g}",
            f"{small['bytes']:,}",
            f"{file['agreement']:.2%}",
            f"{file['difference']:.2g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _remarks(row: dict[str, Any]) -> str:
    """What was not as asked, and what could not be cut or quantized."""
    failed = [f"not {name.replace('_', ' ')}" for name, right in row["verdicts"].items() if not right]
    notes = [note.rstrip(".") for note in (*failed, *row["file"]["problems"], *row["compressed"]["notes"])]
    return "; ".join(notes) or "all as asked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of summary.json and README.md")
    parser.add_argument("--work", type=Path, default=Path("runs/own_networks"), help="folder of trainings and files")
    parser.add_argument("--dataset", default="cifar10", help="of colour pictures of 32x32 pixels")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names with commas between")
    parser.add_argument("--epochs", type=int, default=15, help="of training each network")
    parser.add_argument("--fine-tuning", type=int, default=8, help="epochs, shared by pruning and quantization")
    parser.add_argument("--trials", type=int, default=5, help="of the search; 0: none")
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--images", type=int, help="only so many, to try the script")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    chosen = arguments.networks.split(",")
    if not set(chosen) <= set(NETWORKS):
        raise SystemExit(f"--networks must be among {', '.join(NETWORKS)}.")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    data = search_data(arguments.dataset, data_dir=arguments.data_dir, progress=say)
    if arguments.images is not None:
        train, validation = (_first(part, arguments.images) for part in (data.train, data.validation))
        data = dataclasses.replace(data, train=train, validation=validation)
    rows = []
    for name in chosen:
        with references.only_here():
            references.give(f"{NETS}:{name}", Path())
            row = Way(name, data, arguments).run()
        rows.append({**row, "verdicts": verdicts(row)})
        say(json.dumps(rows[-1]["verdicts"]))
    found = environment()
    summary = {
        "command": f"python {shlex.join(sys.argv)}",
        "commit": found["commit"],
        "machine": found["machine"],
        "dataset": arguments.dataset,
        "split": "validation",
        "validation_images": len(data.validation),
        "seeds": [0],
        "fine_tuning": arguments.fine_tuning,
        "compared": min(COMPARED, len(data.validation)),
        "asked": {"accuracy": LEAST_ACCURACY, "agreement": AGREEMENT, "difference": TOLERANCE},
        "networks": rows,
        "search": None if not arguments.trials else kept(arguments.work / "search.json", lambda: searched(arguments)),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    outputs.write(arguments.out / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    outputs.write(arguments.out / "README.md", readme(summary))


if __name__ == "__main__":
    main()
