"""What becomes of quantized CIFAR-10 networks as files: saved, loaded, verified, exported, run elsewhere.

    python benchmarks/quantized_files.py --table DIR --epochs 14 --aware-epochs 6

DIR is where `quantization_table.py` ran. Two networks go through the files:

    w4a4      the table's network after quantization-aware training, taken from its checkpoint
    pruned    the table's dense network, pruned by filters, then by weights, then quantized to 4 bits, with a few epochs
              of training on some of the images after each

Test images are opened for two things, neither of which chooses anything: the accuracy that a file claims and `verify`
measures again, and the share of images for which onnxruntime predicts what torch predicts. Writes DIR/files.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from quantization_table import rows_of  # noqa: E402
from slimfront.evaluators.artifacts.artifact import load, save  # noqa: E402
from slimfront.evaluators.artifacts.onnx_export import agreement, export, latency  # noqa: E402
from slimfront.evaluators.artifacts.verify import verify  # noqa: E402
from slimfront.evaluators.data.splits import Images, SearchData, final_data, search_data  # noqa: E402
from slimfront.evaluators.job import Job  # noqa: E402
from slimfront.evaluators.pipeline import Pipeline  # noqa: E402
from slimfront.evaluators.scoring.score import score  # noqa: E402
from slimfront.evaluators.training.allocator import keep_freed_memory  # noqa: E402
from slimfront.evaluators.training.augmentation import normalise  # noqa: E402
from slimfront.evaluators.training.loop import accuracy  # noqa: E402
from slimfront.models.network import Network  # noqa: E402
from slimfront.search.commands.scoring import read_candidate  # noqa: E402
from slimfront.spaces import Bits, Candidate, Pruning, Sparsity  # noqa: E402
from slimfront.studies.environment import commit  # noqa: E402

WIDTH = 4


def through_files(network: Network, data: SearchData, test: Images, folder: Path, provenance: Any) -> dict[str, Any]:
    """Save, load, verify and export `network`, and say what was found."""
    network.eval()
    counted = score(network, data.input_shape)
    tested = accuracy(network, test)
    artifact, exported = folder / "network.slim", folder / "network.onnx"
    size = save(network, artifact, data.input_shape, accuracy=tested, provenance=provenance)
    loaded = load(artifact)
    images = normalise(test.images)
    with torch.inference_mode():
        parts = [(network(part), loaded.network(part)) for part in images.split(500)]
    verified = verify(artifact, test)
    onnx_bytes = export(loaded.network, exported, data.input_shape)
    agreed = agreement(exported, loaded.network, images)
    return {
        "validation_accuracy": accuracy(network, data.validation),
        "test_accuracy": tested,
        "weights": counted.weights,
        "stored_weights": counted.stored_weights,
        "macs": counted.macs,
        "score": counted.score,
        "strict_score": counted.strict_score,
        "strict_bytes": counted.strict_bits / 8,
        "payload_bytes": loaded.payload_bytes,
        "payload_over_strict": round(loaded.payload_bytes / (counted.strict_bits / 8) - 1, 6),
        "metadata_bytes": size - loaded.payload_bytes,
        "artifact_bytes": size,
        "logits_equal_bit_for_bit": all(torch.equal(one, other) for one, other in parts),
        "verified": verified.ok,
        "problems": list(verified.problems),
        "verified_test_accuracy": verified.accuracy,
        "onnx_bytes": onnx_bytes,
        "onnx_same_predictions": round(agreed * len(images)),
        "test_images": len(images),
        "latency": [dataclasses.asdict(latency(exported, data.input_shape, batch)) for batch in (1, 64)],
    }


def finished(job: Job, data: SearchData) -> tuple[Network, dict[str, float]]:
    """The network of a job in its final form, and the accuracy after each phase."""
    pipeline = Pipeline(job, data)
    accuracies: dict[str, float] = {}
    for epoch in pipeline.run():
        print(epoch, file=sys.stderr, flush=True)
        if epoch.accuracy is not None:
            accuracies[epoch.stage] = epoch.accuracy
    return pipeline.network, accuracies


def pruned_candidate(base: Candidate) -> Candidate:
    """Filters, then weights, then bits."""
    filters = Sparsity("filters", "l1", "layer", "once", ratio=0.25, epochs=2)
    weights = Sparsity("weights", "l1", "global", "once", ratio=0.5, epochs=1)
    bits = Bits.uniform(WIDTH, WIDTH, outer=8, epochs=2)
    return dataclasses.replace(base, pruning=Pruning(filters, weights), bits=bits)


def networks(arguments: argparse.Namespace, data: SearchData) -> Generator[tuple[str, Job, SearchData]]:
    """(name, job, data to train on)."""
    base = read_candidate(arguments.candidate)
    base = dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, epochs=arguments.epochs))
    work, own = arguments.table / "work", arguments.table / "files"
    row = rows_of(base, arguments.aware_epochs)[WIDTH, "aware"]
    for name, candidate, source in (("w4a4", row, work / f"{WIDTH}-aware"), ("pruned", pruned_candidate(base), None)):
        folder = own / name
        folder.mkdir(parents=True, exist_ok=True)
        # Copies: what the table's own run may still need is not touched.
        for file in (*work.glob("dense-*.safetensors"), *(source.glob("*.safetensors") if source else ())):
            shutil.copy(file, folder)
        job = Job(candidate=candidate, dataset="cifar10", seed=arguments.seed, folder=folder, store=folder)
        some = data.train.subset(torch.arange(arguments.images))
        yield name, job, data if source else dataclasses.replace(data, train=some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--candidate", default="small_residual")
    parser.add_argument("--epochs", type=int, required=True, help="as the table's")
    parser.add_argument("--aware-epochs", type=int, required=True, help="as the table's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=15_000, help="that the pruned network is trained on")
    parser.add_argument("--only", choices=("w4a4", "pruned"))
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    data = search_data("cifar10", data_dir=arguments.data_dir)
    test = final_data("cifar10", data_dir=arguments.data_dir).test()
    path = arguments.table / "files.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name, job, own in networks(arguments, data):
        if arguments.only in (None, name):
            network, accuracies = finished(job, own)
            provenance = {"digest": job.candidate.digest, "candidate": job.candidate.to_dict(), "seed": job.seed}
            provenance |= {"data": {"name": data.name, "digest": data.digest}, "commit": commit()}
            facts = through_files(network, data, test, job.folder or Path(), provenance)
            found[name] = {"training_images": len(own.train.labels), "accuracies": accuracies, **facts}
            print(json.dumps({name: found[name]}, indent=1))
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
