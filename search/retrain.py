"""Retraining for final numbers: chosen networks, all training images, several seeds side by side, one test each.

Every seed has a folder of its own, `OUT/DIGEST/seed-N`, with checkpoints, the receipt of its one look at the test set,
the result and the artifact. The same command goes on wherever it was interrupted.
"""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluators.job import Failure, Job, Result
from evaluators.train import Epoch
from search.final_job import (
    RESULT,
    expected_epochs,
    finished,
    prepare,
    retrain_job,
    write_json,
)
from search.final_numbers import rank_correlation, summarise
from search.final_test import count_reads
from search.interrupt import Interrupt
from search.launch import Options, make_workers, resources
from search.retrain_plan import Choice, Plan
from search.retrain_show import RetrainShow, make_retrain_show
from search.workers import Evaluate, Workers
from spaces import Candidate
from studies.page import percent_number

STARTS = 3  # a seed whose worker dies is started again twice
_PULSE = 1.0


@dataclass
class _Seed:
    choice: Choice
    trained: Candidate
    number: int
    folder: Path
    starts: int = 0
    result: Result | None = None
    failure: Failure | None = None

    @property
    def name(self) -> str:
        return f"{self.choice.name}, seed {self.number}"


@dataclass
class _Running:
    """What goes on in the slots, and what is left to do."""

    queue: deque[_Seed]
    slots: dict[int, _Seed] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)


def retrain(plan: Plan, options: Options, evaluate: Evaluate = retrain_job) -> tuple[str, dict[str, Any]]:
    """Train every network with every seed, or go on with it.

    Returns:
        How it ended ("done", "interrupted", "failures"), and the summary, which also lies in OUT/summary.json, beside
        the versions that trained, in OUT/requirements.txt.

    Raises:
        RetrainError, DataError: Something is wrong that the user can mend; nothing is lost.
    """
    from rich.console import Console

    from evaluators.data import final_data
    from studies.record import environment
    from studies.requirements import write_requirements

    environment()  # kept from here on: the commit that trains, whatever is committed meanwhile
    console = Console(stderr=True)
    out = options.out or Path("runs") / "final"
    device, slots, threads = resources(options)
    data = final_data(plan.dataset, data_dir=options.data_dir, image_size=plan.image_size, progress=console.print)
    digest, images = data.digest, len(data.train)
    del data  # the workers load their own
    seeds = _seeds(plan, out, digest)
    todo = deque(seed for seed in seeds if seed.result is None)
    slots = min(slots, len(todo))
    how = "done"
    if todo:
        write_requirements(out, goes_on=True)
        jobs = {id(seed): _job(seed, plan, options, device, threads) for seed in todo}
        with make_workers(slots, evaluate) as pool, make_retrain_show(console) as show:
            show.plan(len(seeds), len(seeds) - len(todo), sum(expected_epochs(seed.trained) for seed in todo), slots)
            asked = _run(_Running(todo), pool, show, lambda seed: jobs[id(seed)])
        how = "interrupted" if asked else how
    if any(seed.failure is not None for seed in seeds):
        how = "failures"
    summary = _summary(plan, seeds, out)
    summary |= {"data": {"name": plan.dataset, "digest": digest, "train": images}, "device": device, "how": how}
    write_json(out / "summary.json", summary)
    return how, summary


def _seeds(plan: Plan, out: Path, data_digest: str) -> list[_Seed]:
    found = []
    for choice in {choice.candidate.digest: choice for choice in plan.choices}.values():  # the same network once
        trained = plan.trained(choice)
        for number in range(plan.seeds):
            folder = out / choice.candidate.digest / f"seed-{number}"
            prepare(folder, choice.candidate.digest, trained, number, data_digest)
            found.append(_Seed(choice, trained, number, folder, result=finished(folder)))
    return sorted(found, key=lambda seed: seed.number)  # every network's first seed first


def _job(seed: _Seed, plan: Plan, options: Options, device: str, threads: int) -> Job:
    return Job(
        candidate=seed.trained,
        dataset=plan.dataset,
        seed=seed.number,
        data_dir=options.data_dir,
        image_size=plan.image_size,
        device=device,
        threads=threads,
        folder=seed.folder,
    )


def _run(running: _Running, workers: Workers, show: RetrainShow, job: Callable[[_Seed], Job]) -> bool:
    """Work until nothing is left or somebody interrupts; returns whether that happened."""
    with Interrupt() as interrupt:
        while True:
            for slot in range(workers.slots):
                if slot not in running.slots and running.queue and not interrupt.asked:
                    seed = running.queue.popleft()
                    seed.starts += 1
                    running.slots[slot], running.begun[slot] = seed, time.monotonic()
                    show.started(slot, seed.name, expected_epochs(seed.trained))
                    workers.submit(slot, job(seed))
            if not running.slots:
                return interrupt.asked
            event = workers.next(_PULSE)
            if event is not None:
                _handle(running, workers, show, *event, ending=interrupt.asked)


def _handle(
    running: _Running,
    workers: Workers,
    show: RetrainShow,
    slot: int,
    message: Epoch | Result | Failure,
    *,
    ending: bool,
) -> None:
    seed = running.slots[slot]
    if isinstance(message, Epoch):
        show.epoch(slot, message)
        if not ending:
            workers.go_on(slot)
            return
        workers.stop(slot)
        show.ended(slot, "left for the next start", for_good=False)
    elif isinstance(message, Result):
        seed.result = message
        show.ended(slot, f"test accuracy {percent_number(message.accuracy)}%, score {message.score['score']:.4g}")
    elif message.reason == "worker_died" and seed.starts < STARTS:
        running.queue.append(seed)
        show.ended(slot, f"{message.text}; it starts again", for_good=False)
    else:
        seed.failure = message
        show.ended(slot, f"failed, {message.text}")
    del running.slots[slot]


def _summary(plan: Plan, seeds: Sequence[_Seed], out: Path) -> dict[str, Any]:
    """All networks; where it is one, its keys stand on top as well."""
    from studies.record import environment
    from studies.storage import typed_command

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
    return {**networks[0], **summary} if len(networks) == 1 else summary


def _network(choice: Choice, seeds: Sequence[_Seed], plan: Plan) -> dict[str, Any]:
    done = [(seed, seed.result) for seed in seeds if seed.result is not None]
    artifacts = [str(path) for _, result in done if (path := result.facts.get("artifact"))]
    scores = [float(result.score["score"]) for _, result in done]
    strict = [float(result.score["strict_score"]) for _, result in done]
    highest = max(done, key=lambda entry: entry[1].score["score"])[1].score if done else {}
    return {
        "digest": choice.candidate.digest,
        "trial": choice.trial,
        "candidate": choice.candidate.to_dict(),
        "epochs": expected_epochs(seeds[0].trained),
        "seeds": [seed.number for seed, _ in done],
        "accuracies": [result.accuracy for _, result in done],
        **summarise([result.accuracy for _, result in done], plan.bar, choice.accuracy),
        # Seeds differ in score only where pruning chooses shapes by their weights: the highest is the honest one.
        "score": max(scores, default=None),
        "strict_score": max(strict, default=None),
        "scores": scores,
        "score_params": highest.get("score_params"),
        "score_ops": highest.get("score_ops"),
        "artifact": artifacts[0] if artifacts else None,
        "artifacts": artifacts,
        "verified": bool(artifacts) and all(result.facts.get("verified") for _, result in done),
        "curves": [str(seed.folder / RESULT) for seed, _ in done],  # key "curve" in each: every epoch of every stage
        "notes": list(dict.fromkeys(note for _, result in done for note in result.notes)),
        "failed": [{"seed": s.number, "reason": s.failure.reason, "text": s.failure.text} for s in seeds if s.failure],
        "open": [seed.number for seed in seeds if seed.result is None and seed.failure is None],
        "test_evaluations": count_reads(seeds[0].folder.parent),
    }
