"""How fast this machine is at what a search with a supernet does, measured by doing a little of each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from slimfront.evaluators.data.images import Images
from slimfront.evaluators.data.splits import SearchData
from slimfront.evaluators.job import Job
from slimfront.evaluators.quantization import QuantizationPhase
from slimfront.evaluators.scoring.counting import one_thread
from slimfront.evaluators.supernet.cutting import align_shortcuts
from slimfront.evaluators.supernet.measuring import (
    MEASURED_IMAGES,
    NORM_IMAGES,
    measure,
    norm_batches,
    part_of,
    settle,
)
from slimfront.evaluators.supernet.screening import chosen, screening_file
from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.supernet.supernet import supernet_file
from slimfront.evaluators.supernet.training import train_shared
from slimfront.evaluators.training import checkpoint as files
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import train
from slimfront.evaluators.training.teacher import teacher_candidate, teacher_file, views_file
from slimfront.evaluators.training.views import VIEWS, can_be_asked_before
from slimfront.models.network import build_shape
from slimfront.search.proposals.proposer import LENGTH
from slimfront.search.supernet.plan import Work
from slimfront.search.supernet.preparation import PhaseCircumstances
from slimfront.spaces import Candidate, Space
from slimfront.spaces.domain import Value
from slimfront.spaces.walk import walk
from slimfront.studies.settings import Settings

_STEPS = 2  # of a training that is timed, after as many to warm up
_FORWARD = 1 / 3  # of an image's training is to look at it
_PART = 4  # of the images of a measurement a quarter is enough


def work_of(settings: Settings, sharing: Sharing, given: PhaseCircumstances, workers: int) -> Work:
    """What there is to do, as far as it is not done, from what a little of it takes now."""
    assert settings.supernet is not None
    path = supernet_file(sharing, given.data, given.seed, device=given.device)
    left = _left(path)
    images = left * sharing.recipe.epochs * len(given.data.train)
    before = {"teacher": _teacher(sharing, given)} if sharing.recipe.distillation > 0 else {}
    before |= {"supernet": images * _supernet(sharing, given) if left else 0.0, "screening": 0.0}
    count = len(chosen(sharing.shapes, settings.supernet.screened))
    if count and (left or not screening_file(path).exists()):
        before["screening"] = count * _cut(sharing, given)
    space = settings.make_space()
    an_image = _trial(middle(space, sharing), given)
    lengths = lengths_of(space, sharing)
    short, long = (epochs * len(given.data.train) * an_image / workers for epochs in lengths)
    return Work(before, short, long if lengths[1] > lengths[0] else None)


def lengths_of(space: Space, sharing: Sharing) -> tuple[int, int]:
    """Epochs of the shortest trial and of the longest, as far as `bits.epochs` says."""
    return _epochs(middle(space, sharing, min)), _epochs(middle(space, sharing, max))


def middle(space: Space, sharing: Sharing, length: Callable[..., Any] = min) -> Candidate:
    """A candidate of middling shape, the shortest training or the longest, and else the first of everything."""

    def choose(key: str, name: str) -> Value:
        ends = space.domain(key).extremes
        found: Value = length(ends) if key == LENGTH else ends[0]
        return found

    numbers = tuple(choices[len(choices) // 2] for choices in sharing.shapes.choices)
    return dataclasses.replace(Candidate.from_dict(walk(choose)), architecture=sharing.shapes.of_numbers(numbers))


def _left(path: Path) -> float:
    """The share of a training's epochs that its file does not have."""
    found = files.load(path)
    return 1.0 if found is None else 1 - len(found[1]["done"]) / found[1]["epochs"]


def _epochs(candidate: Candidate) -> int:
    """Of a trial that inherits its weights; one that is only judged takes about one."""
    return max(1, sum(candidate.phases.values()) - candidate.recipe.epochs)


def _few(data: SearchData, batch: int, given: PhaseCircumstances) -> Images:
    return part_of(data.train, _STEPS * batch).to(given.device)


def _context(candidate: Candidate, images: Images, given: PhaseCircumstances) -> TrainContext:
    recipe = dataclasses.replace(candidate.recipe, teacher=None, distillation=0.0)
    return TrainContext(
        images=images,
        validation=None,
        recipe=recipe,
        augmentation=candidate.augmentation,
        classes=given.data.classes,
        seed=0,
        device=torch.device(given.device),
        epochs=2,
    )


def _teacher(sharing: Sharing, given: PhaseCircumstances) -> float:
    """Seconds of the teacher's training and of its views, as far as they are not there."""
    job = Job(candidate=sharing.candidate, dataset=given.data.name, seed=given.seed, device=given.device)
    path = teacher_file(job, given.data)
    asks = can_be_asked_before(sharing.augmentation, len(given.data.train), given.data.classes)
    views = VIEWS if asks and not views_file(path).exists() else 0
    left = _left(path)
    if not left and not views:
        return 0.0
    candidate = teacher_candidate(job)
    images = _few(given.data, min(candidate.recipe.batch_size, 64), given)
    network = build_shape(candidate.architecture, given.data.classes, channels=given.data.input_shape[0], seed=0)
    with _threads(given.threads):
        *_, last = train(network, _context(candidate, images, given))
    rounds = left * candidate.recipe.epochs + views * _FORWARD
    return rounds * len(given.data.train) * last.seconds / len(images)


def _supernet(sharing: Sharing, given: PhaseCircumstances) -> float:
    """Seconds for an image in the shared training."""
    images = _few(given.data, sharing.recipe.batch_size * sharing.shapes_a_step, given)
    recipe = dataclasses.replace(sharing.recipe, epochs=2, teacher=None, distillation=0.0)
    network = build_shape(sharing.shapes.largest, given.data.classes, channels=given.data.input_shape[0], seed=0)
    align_shortcuts(network)
    short = dataclasses.replace(sharing, recipe=recipe, alone=0)
    *_, last = train_shared(network, short, _context(short.candidate, images, given), {}, given.threads)
    return last.seconds / len(images)


def _cut(sharing: Sharing, given: PhaseCircumstances) -> float:
    """Seconds for a middling cut's batch norm and its measuring."""
    numbers = tuple(choices[len(choices) // 2] for choices in sharing.shapes.choices)
    shape = sharing.shapes.of_numbers(numbers)
    network = build_shape(shape, given.data.classes, channels=given.data.input_shape[0], seed=0).to(given.device)
    norms = norm_batches(given.data.train, NORM_IMAGES // _PART, 0, given.device)
    with one_thread():
        start = time.perf_counter()
        settle(network, norms)
        next(measure([network], given.data.validation, MEASURED_IMAGES // _PART))
    whole = min(1.0, (len(given.data.train) + len(given.data.validation)) / (NORM_IMAGES + MEASURED_IMAGES))
    return (time.perf_counter() - start) * _PART * whole / given.threads


def _trial(candidate: Candidate, given: PhaseCircumstances) -> float:
    """Seconds of one core for an image in the training of a trial."""
    images = _few(given.data, candidate.recipe.batch_size, given)
    network = build_shape(candidate.architecture, given.data.classes, channels=given.data.input_shape[0], seed=0)
    context = _context(candidate, images, given)
    with _threads(1):
        if max(*candidate.bits.weights, *candidate.bits.activations) > 8:
            *_, last = train(network, context)
        else:
            bits = dataclasses.replace(candidate.bits, epochs=2, path=())
            *_, last = QuantizationPhase(bits).run(network, context)
    return last.seconds / len(images)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
