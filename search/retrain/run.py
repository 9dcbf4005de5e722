"""Retraining for final numbers: chosen networks, all training images, several seeds side by side, one test each.

Every seed has a folder of its own, `OUT/DIGEST/seed-N`, with checkpoints, the receipt of its one look at the test set,
the result and the artifact. The same command goes on wherever it was interrupted.
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.search.display import Row, make_display
from slimfront.search.engine import Engine
from slimfront.search.event_files import check_event_files, event_files
from slimfront.search.launch import Options, resources
from slimfront.search.own_code import check_weights, try_candidate
from slimfront.search.retrain.final_test import count_reads
from slimfront.search.retrain.job import (
    RESULT,
    SUMMARY,
    RetrainError,
    expected_epochs,
    finished,
    prepare,
    retrain_job,
    write_json,
)
from slimfront.search.retrain.numbers import rank_correlation, summarise
from slimfront.search.retrain.plan import Choice, Plan
from slimfront.search.task_list import ListedTask, TaskList
from slimfront.search.workers.base import Evaluate
from slimfront.search.workers.local import local_workers, refuse_second_run
from slimfront.studies.report.numbers import percent_number
from slimfront.studies.requirements import write_requirements


@dataclass(eq=False, kw_only=True)
class Seed(ListedTask):
    """One network's training with one seed, in a folder of its own."""

    choice: Choice
    job: Job

    @property
    def number(self) -> int:
        """The seed."""
        return self.job.seed

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        assert self.job.folder is not None
        return self.job.folder


class Seeds(TaskList[Seed, Result]):
    """Seeds for the engine."""

    def result(self, task: Seed, result: Result) -> str:
        """See Client."""
        super().result(task, result)
        return f"test accuracy {percent_number(result.accuracy)}%, score {result.score['score']:.4g}"


def retrain(plan: Plan, options: Options, evaluate: Evaluate[Job, Result] = retrain_job) -> tuple[str, dict[str, Any]]:
    """Train every network with every seed, or go on with it.

    Returns:
        How it ended ("done", "interrupted", "failures"), and the summary, which also lies in OUT/summary.json, beside
        the versions that trained, in OUT/requirements.txt.

    Raises:
        RetrainError, DataError, OwnNetworkError, StartingWeightsError: Something is wrong that the user can mend;
            nothing is lost.
    """
    from slimfront.evaluators.data.splits import final_data
    from slimfront.search.terminal import Console
    from slimfront.studies.environment import environment

    refuse_second_run()
    check_event_files(options.tensorboard, plan.dataset)
    environment()  # kept from here on: the commit that trains, whatever is committed meanwhile
    console = Console(stderr=True)
    out = options.out or Path("runs") / "final"
    device, slots, threads = resources(options)
    data = final_data(plan.dataset, data_dir=options.data_dir, image_size=plan.image_size, progress=console.say)
    if plan.data_digest not in (None, data.digest):
        raise RetrainError(
            f"{plan.dataset} does not hold the images that {plan.study} was searched on; "
            f"to train on them all the same: --dataset {shlex.quote(plan.dataset)}."
        )
    for choice in plan.choices:
        try_candidate(choice.candidate, plan.costs, data.input_shape, data.classes)
    begun = [choice.candidate.architecture for choice in plan.choices if choice.candidate.recipe.starting_weights]
    for path in plan.weights.values():
        check_weights(begun, path, data.input_shape, data.classes)
    digest, images = data.digest, len(data.train)
    del data  # the workers load their own
    seeds = _seeds(plan, options, out, digest, device, threads)
    todo = [seed for seed in seeds if seed.result is None]
    how = "done"
    if todo:
        write_requirements(out, goes_on=True)
        slots = min(slots, len(todo))
        with closing(local_workers(slots, evaluate)) as workers, make_display(console) as display:
            if len(todo) < len(seeds):
                display.say(f"{len(seeds) - len(todo)} of {len(seeds)} trainings were finished before")
            with event_files(options.tensorboard, out.name, display.say) as listeners:
                how = Engine(Seeds(todo, slots), workers, display, listeners).run().how
    if any(seed.failure is not None for seed in seeds):
        how = "failures"
    summary = _summary(plan, seeds, out)
    summary |= {"data": {"name": plan.dataset, "digest": digest, "train": images}, "device": device, "how": how}
    write_json(out / SUMMARY, summary)
    return how, summary


def _seeds(plan: Plan, options: Options, out: Path, data_digest: str, device: str, threads: int) -> list[Seed]:
    found = []
    for choice in {choice.candidate.digest: choice for choice in plan.choices}.values():  # the same network once
        trained = plan.trained(choice)
        for number in range(plan.seeds):
            folder = out / choice.candidate.digest / f"seed-{number}"
            supernet = plan.supernet(choice)
            key = choice.supernet if plan.inherit else ""
            prepare(folder, choice.candidate.digest, trained, number, data_digest, key)
            job = Job(
                candidate=trained,
                dataset=plan.dataset,
                seed=number,
                data_dir=options.data_dir,
                image_size=plan.image_size,
                device=device,
                threads=threads,
                folder=folder,
                costs=plan.costs,
                supernet=supernet,
                weights=plan.weights,
            )
            row = Row(f"{choice.name}, seed {number}", epochs=expected_epochs(trained, inherits=plan.inherit))
            found.append(Seed(job=job, row=row, choice=choice, result=finished(folder)))
    return sorted(found, key=lambda seed: seed.number)  # every network's first seed first


def _summary(plan: Plan, seeds: Sequence[Seed], out: Path) -> dict[str, Any]:
    """All networks; where it is one, its keys stand on top as well."""
    from slimfront.studies.environment import environment
    from slimfront.studies.store.storage import typed_command

    networks = []
    for choice in {seed.choice.candidate.digest: seed.choice for seed in seeds}.values():
        own = [seed for seed in seeds if seed.choice.candidate.digest == choice.candidate.digest]
        networks.append(_network(choice, own, plan))
    both = [(n["validation_accuracy"], n["mean"]) for n in networks if n["gap"] is not None]
    summary: dict[str, Any] = {
        "command": typed_command(),
        "commit": environment()["commit"],
        "machine": environment()["machine"],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "study": plan.study,
        "bar": plan.bar,
        "out": str(out),
        "networks": networks,
        "rank_correlation": rank_correlation([a for a, _ in both], [b for _, b in both]),
        "test_evaluations": sum(network["test_evaluations"] for network in networks),
    }
    if plan.axis != SCORE_AXIS:
        summary["objective"] = asdict(plan.axis)
    return {**networks[0], **summary} if len(networks) == 1 else summary


def _costs(plan: Plan, done: Sequence[Result]) -> dict[str, Any]:
    """The highest over the seeds of each cost: `cost` is the one that the study keeps low, `costs` are the others."""
    highest = {
        name: max((result.costs[name] for result in done if name in result.costs), default=None) for name in plan.costs
    }
    own = {"cost": highest.pop(plan.axis.name)} if plan.axis.name in highest else {}
    return {**own, **({"costs": highest} if highest else {})}


def _network(choice: Choice, seeds: Sequence[Seed], plan: Plan) -> dict[str, Any]:
    done = [(seed, seed.result) for seed in seeds if seed.result is not None]
    artifacts = [str(path) for _, result in done if (path := result.facts.get("artifact"))]
    scores = [float(result.score["score"]) for _, result in done]
    strict = [float(result.score["strict_score"]) for _, result in done]
    highest = max(done, key=lambda entry: entry[1].score["score"])[1].score if done else {}
    return {
        "digest": choice.candidate.digest,
        "trial": choice.trial,
        "candidate": choice.candidate.to_dict(),
        "epochs": expected_epochs(seeds[0].job.candidate, inherits=plan.inherit),
        **({"inherited": {"supernet": choice.supernet}} if plan.inherit else {}),
        "seeds": [seed.number for seed, _ in done],
        "accuracies": [result.accuracy for _, result in done],
        **summarise([result.accuracy for _, result in done], plan.bar, choice.accuracy),
        **_costs(plan, [result for _, result in done]),
        # Seeds differ in score only where pruning chooses shapes by their weights: the highest is the honest one.
        "score": max(scores, default=None),
        "strict_score": max(strict, default=None),
        "scores": scores,
        "score_params": highest.get("score_params"),
        "score_ops": highest.get("score_ops"),
        "artifact": artifacts[0] if artifacts else None,
        "artifacts": artifacts,
        "verified": bool(artifacts) and all(result.facts.get("verified") for _, result in done),
        "curves": [str(seed.folder / RESULT) for seed, _ in done],  # key "curve" in each: every epoch of every phase
        "notes": list(dict.fromkeys(note for _, result in done for note in result.notes)),
        "failed": [{"seed": s.number, "reason": s.failure.reason, "text": s.failure.text} for s in seeds if s.failure],
        "open": [seed.number for seed in seeds if seed.result is None and seed.failure is None],
        "test_evaluations": count_reads(seeds[0].folder.parent),
    }
