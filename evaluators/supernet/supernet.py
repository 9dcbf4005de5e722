"""Supernets: trained once, kept under a name that is made of everything they depend on, and cut into networks.

A supernet is used again by whoever asks for the same shapes, recipe, augmentation and teacher, on the same data, with
the same seed; by nobody else. It lies in `~/.cache/slimfront/supernets` (or `$XDG_CACHE_HOME/slimfront/supernets`):
weights and state as safetensors, and beside them a record as JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators import outputs
from slimfront.evaluators.data.cache import cache_folder
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.job import Job
from slimfront.evaluators.supernet.cutting import align_shortcuts, inherit
from slimfront.evaluators.supernet.measuring import NORM_IMAGES, norm_batches, settle
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.supernet.training import SharedEpoch, train_shared, watched
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training import store
from slimfront.evaluators.training.context import Teacher, TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError
from slimfront.evaluators.training.teacher import teacher_file, teacher_for
from slimfront.evaluators.training.views import VIEWS
from slimfront.models.network import Network, build_shape
from slimfront.spaces import references
from slimfront.spaces.candidate import Architecture

PHASE = "supernet"
_KEY = re.compile("[0-9a-f]{16}")
SUPERNET_VERSION = 1  # raised whenever a change makes a supernet's training come to other numbers


@dataclass(frozen=True, eq=False)
class Supernet:
    """A trained supernet.

    Attributes:
        sharing: What it was asked for.
        network: The largest shape, trained.
        key: Digest of everything that it depends on, 16 hexadecimal digits.
        record: What it was trained on and by, its curve, and what it cost; plain values.
    """

    sharing: Sharing
    network: Network
    key: str
    record: dict[str, Any]


def cut(
    supernet: Supernet, architecture: Architecture, images: Images, *, count: int = NORM_IMAGES, seed: int = 0
) -> Network:
    """A plain network of this shape with the supernet's weights, and batch norm estimated anew.

    Args:
        supernet: Is left as it is.
        architecture: One of its shapes.
        images: Training images, some of which batch norm is estimated on.
        count: How many of them.
        seed: Of which ones.

    Raises:
        ValueError: The supernet does not hold this shape.
    """
    if architecture not in supernet.sharing.shapes:
        raise ValueError(f"The supernet {supernet.key} does not hold the shape {architecture.to_json()}.")
    whole = supernet.network
    classes, channels = whole.classifier.out_features, whole.stem.conv.in_channels
    network = inherit(whole.state_dict(), architecture, classes, channels)
    settle(network, norm_batches(images, count, seed, next(network.parameters()).device))
    return network.eval()


def supernet_for(
    sharing: Sharing,
    data: SearchData,
    seed: int,
    *,
    device: str = "cpu",
    threads: int = 1,
    folder: Path | None = None,
) -> Generator[Epoch, None, Supernet]:
    """Yields the epochs of its teacher's and its own training; returns it. One that is there is replayed in no time.

    The first one who asks trains it, with a checkpoint after every epoch; others on the same machine wait. Closing the
    generator stops the training, which goes on there the next time.

    Args:
        sharing: What shares the training, and how.
        data: Training images; validation images for the curve alone.
        seed: Of weights, order, augmentation and drawn shapes.
        device: "cpu", "cuda" or "cuda:1".
        threads: Of the training, on a CPU. They change nothing but its speed.
        folder: Where supernets are kept; None: in the cache.

    Raises:
        TrainingError: The loss is not finite, there are too few images, or there is no such teacher.
    """
    path = supernet_file(sharing, data, seed, device=device, folder=folder)
    teacher: Teacher | None = None
    if sharing.recipe.distillation > 0 and _finished(path) is None:
        teacher = yield from teacher_for(_job(sharing, data, seed, device), data)
    context = TrainContext(
        images=data.train,
        validation=data.validation,
        recipe=sharing.recipe,
        augmentation=sharing.augmentation,
        classes=data.classes,
        seed=seed,
        device=torch.device(device),
        phase=PHASE,
        teacher=teacher,
        checkpoint=path,
    )
    network = build_shape(sharing.shapes.largest, data.classes, channels=data.input_shape[0], seed=seed)
    align_shortcuts(network)
    identity = {
        "key": path.stem.rpartition("-")[2],
        "sharing": sharing.to_dict(),
        "data": {"name": data.name, "digest": data.digest, "classes": data.classes, "channels": data.input_shape[0]},
        "seed": seed,
        "device": device.split(":")[0],
        "version": SUPERNET_VERSION,
    }
    with store.alone(path):
        yield from train_shared(network, sharing, context, identity, threads)
        supernet = load_supernet(path)
        outputs.write(path.with_suffix(".json"), json.dumps(supernet.record, indent=1) + "\n")
    return supernet


def supernet_file(
    sharing: Sharing, data: SearchData, seed: int, *, device: str = "cpu", folder: Path | None = None
) -> Path:
    """Where the supernet lies, or will lie; its name ends in its key. Raises TrainingError for an unknown teacher."""
    parts = [sharing.digest, data.digest, str(seed), str(SUPERNET_VERSION), device.split(":")[0]]
    if sharing.recipe.distillation > 0:
        parts += [teacher_file(_job(sharing, data, seed, device), data).stem, f"{VIEWS} views"]
    parts += [f"{name} {source}" for name, source in references.sources(sharing.to_dict()).items()]
    return kept_supernet(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16], folder)


def kept_supernet(key: str, folder: Path | None = None) -> Path:
    """Where the supernet with this key lies, if it is there. Raises ValueError for what is no key."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:40]!r} is not the key of a supernet.")
    return (folder or cache_folder() / "supernets") / f"supernet-{key}.safetensors"


def load_supernet(path: Path) -> Supernet:
    """A supernet from its file. Raises TrainingError where there is none, or one that is not trained to its end."""
    found = find_supernet(path)
    if found is None:
        raise TrainingError("files", f"There is no trained supernet in {path}: train it again.")
    return found


def find_supernet(path: Path) -> Supernet | None:
    """The same; None where there is none."""
    found = _finished(path)
    if found is None:
        return None
    tensors, facts = found
    sharing, data = Sharing.from_dict(facts["sharing"]), facts["data"]
    network = build_shape(sharing.shapes.largest, data["classes"], channels=data["channels"], seed=0)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
    return Supernet(sharing, network.eval(), facts["key"], _record(sharing, facts))


def _finished(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    found = files.load(path)
    return found if found is not None and len(found[1]["done"]) == found[1]["epochs"] else None


def _job(sharing: Sharing, data: SearchData, seed: int, device: str) -> Job:
    return Job(candidate=sharing.candidate, dataset=data.name, seed=seed, device=device)


def _record(sharing: Sharing, facts: dict[str, Any]) -> dict[str, Any]:
    done: list[dict[str, Any]] = facts["done"]
    kept = {key: value for key, value in facts.items() if key != "done"}
    return {
        **kept,
        "shapes": len(sharing.shapes),
        "core_seconds": sum(epoch["core_seconds"] for epoch in done),
        "seconds": sum(epoch["seconds"] for epoch in done),
        "watched": [shape.to_dict() for shape in watched(sharing)],
        "curve": [asdict(SharedEpoch(**epoch)) for epoch in done],
    }
