"""One network and one seed for the final numbers: all training images, the last epoch, one look at the test set.

The counterpart of `slimfront.search.job.evaluate_job`: the same phases, other data. It runs in a worker process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from slimfront.evaluators import outputs
from slimfront.evaluators.data.splits import FinalData, SearchData
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.retrain.final_test import FinalTest
from slimfront.spaces import Candidate, references
from slimfront.studies.report.methods_used import describe

if TYPE_CHECKING:
    from torch import nn

RESULT, PLAN = "result.json", "plan.json"  # in a seed's folder
SUMMARY = "summary.json"  # in the folder of all
_LONGEST_NAME = 80  # characters of a file's name that say what the network is
PROBES = 64  # training images on which the artifact must give the same logits


class RetrainError(ValueError):
    """Retraining that cannot be done as asked: the text says what to do."""


def lengthened(candidate: Candidate, epochs: int) -> Candidate:
    """The candidate with `epochs` of dense training, and its fine-tunings longer by the same factor."""
    import dataclasses

    factor = epochs / candidate.recipe.epochs

    def longer(value: int) -> int:
        return max(1, round(value * factor)) if value else 0

    steps = {
        name: dataclasses.replace(step, epochs=longer(step.epochs))
        for name in ("filters", "weights")
        if (step := getattr(candidate.pruning, name)) is not None
    }
    return dataclasses.replace(
        candidate,
        recipe=dataclasses.replace(candidate.recipe, epochs=epochs),
        pruning=dataclasses.replace(candidate.pruning, **steps),
        bits=dataclasses.replace(candidate.bits, epochs=longer(candidate.bits.epochs)),
    )


def expected_epochs(candidate: Candidate, *, inherits: bool = False) -> int:
    """Epochs of all phases together; what inherits its weights has no uncompressed training."""
    return sum(candidate.phases.values()) - (candidate.recipe.epochs if inherits else 0)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON: either all of it is there, or what was there before."""
    outputs.write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None where there is nothing, or nothing readable."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def prepare(folder: Path, digest: str, trained: Candidate, seed: int, data_digest: str, supernet: str = "") -> None:
    """Note in the seed's folder what is trained there, and the key of the supernet that it starts from, if it does.

    Raises RetrainError where something else was trained there before: with another number of epochs, for example,
    which must not be chosen by test accuracy.
    """
    plan = {
        "digest": digest,
        "seed": seed,
        "epochs": expected_epochs(trained, inherits=bool(supernet)),
        "trained": trained.to_dict(),
        "data": data_digest,
    }
    code = references.sources(trained.to_dict())
    plan |= {"code": code} if code else {}
    plan |= {"supernet": supernet} if supernet else {}
    found = read_json(folder / PLAN)
    if found is not None and code and "code" in found:  # earlier plans do not name the modules that are imported
        found["code"] = code | found["code"]
    if found is None:
        write_json(folder / PLAN, plan)
    elif found != plan:
        names = {"digest": "network", "data": "data set", "trained": "schedule or network", "epochs": "epochs"}
        names |= {"code": "source of your own code", "supernet": "supernet, or none"}
        what = next(name for key, name in names.items() if found.get(key) != plan.get(key))
        told = f" ({found.get('epochs')}, now {plan['epochs']})" if what == "epochs" else ""
        raise RetrainError(
            f"{folder} holds a retraining with another {what}{told}: go on as it was begun, or give another --out."
        )


def retrain_job(job: Job) -> Generator[Epoch, None, Result]:
    """Train `job.candidate` on all training images in `job.folder`; its Result has the *test* accuracy.

    Run again, it goes on where it broke off; a finished one only hands back what its files say.
    """
    import torch
    from slimfront.evaluators.data import loaded
    from slimfront.evaluators.training.allocator import keep_freed_memory
    from slimfront.studies.environment import environment

    keep_freed_memory()
    torch.set_num_threads(job.threads)
    environment()  # kept from here on: the commit that trains, whatever is committed meanwhile
    return (yield from _retrain(job, loaded.final_data(job.dataset, job.data_dir, job.image_size)))


def _retrain(job: Job, data: FinalData) -> Generator[Epoch, None, Result]:
    from slimfront.evaluators.pipeline import Pipeline, measured_costs
    from slimfront.evaluators.scoring.score import score
    from slimfront.evaluators.training.loop import TEACHER, TrainingError, accuracy

    assert job.folder is not None
    plan = read_json(job.folder / PLAN) or {}
    test = FinalTest(job.folder, str(plan.get("digest")), job.seed)
    done = finished(job.folder)
    if done is not None:
        return done
    pipeline = Pipeline(job, cast(SearchData, data), validate=False)
    curve = []
    for epoch in pipeline.run():
        if epoch.stage != TEACHER:
            curve.append(epoch)
        yield epoch
    network = pipeline.network
    counted = score(network, data.input_shape)
    known = test.known()
    if known is None:
        images = data.test()  # opened first: files that cannot be read must not cost a trained seed its one look
        known = test.read(lambda: accuracy(network, images, job.device))
    facts: dict[str, Any] = dict(pipeline.facts)
    problems = _save_artifact(job, network, data, known, plan)
    artifact = job.folder / artifact_name(job, str(plan.get("digest")))
    if artifact.exists():
        facts["artifact"], facts["verified"] = str(artifact), not problems
    try:
        costs = measured_costs(job, network, data.input_shape, counted)
    except TrainingError as error:  # the accuracy is known, and may be read only once
        costs, problems = {}, [*problems, str(error)]
    seconds = sum(epoch.seconds for epoch in curve)
    notes = (*pipeline.notes, *problems)
    result = Result(known, counted.to_dict(), tuple(curve), {}, seconds, notes, facts, costs)
    write_json(job.folder / RESULT, asdict(result))
    return result


def finished(folder: Path) -> Result | None:
    """The result of a seed that is done; None where it is not."""
    found = read_json(folder / RESULT)
    if found is None:
        return None
    try:
        found["curve"] = tuple(Epoch(**epoch) for epoch in found["curve"])
        found["notes"] = tuple(found["notes"])
        return Result(**found)
    except (KeyError, TypeError):
        return None


def artifact_name(job: Job, digest: str) -> str:
    """A file name that says what is in it: "residual-16-32-64x1-2-2-W3A3-3f0c8a12-seed-0.slim"."""
    words = describe(job.candidate).replace(" x ", "x").replace(" %", "pc")
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', words)[:_LONGEST_NAME].strip('-')}-{digest[:8]}-seed-{job.seed}.slim"


def _save_artifact(job: Job, network: nn.Module, data: FinalData, measured: float, plan: dict[str, Any]) -> list[str]:
    """Write the network as one file in the seed's folder and verify it there; returns what is wrong with it.

    The test images stay closed: the accuracy was just measured, and what is verified is that the file holds this very
    network, by its logits on training images.
    """
    import torch
    from slimfront.evaluators.artifacts.artifact import ArtifactError, load, save
    from slimfront.evaluators.artifacts.verify import verify
    from slimfront.evaluators.training.augmentation import normalise
    from slimfront.studies.environment import environment

    assert job.folder is not None
    path = job.folder / artifact_name(job, str(plan.get("digest")))
    provenance = {
        "digest": plan.get("digest"),
        "candidate": job.candidate.to_dict(),
        "seed": job.seed,
        "data": {"name": data.name, "digest": data.digest},
        "class_names": list(data.class_names),
        "commit": environment()["commit"],
        **({"code": plan["code"]} if plan.get("code") else {}),
    }
    network = network.to("cpu").eval()
    try:
        save(network, path, data.input_shape, accuracy=measured, provenance=provenance)
    except ArtifactError as error:
        return [f"no artifact: {error}"]
    problems = list(verify(path).problems)
    some = normalise(data.train.images[:PROBES])
    with torch.inference_mode():
        if not torch.equal(network(some), load(path).network(some)):
            problems.append("the network in the artifact gives other logits")
    return [f"{path.name}: {problem}" for problem in problems]
