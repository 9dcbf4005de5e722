"""A supernet trained on digits: threads, resuming, the store, its cuts, and jobs that start from them."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators.artifacts.artifact import load, save
from slimfront.evaluators.data.splits import SearchData, search_data
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.pipeline import Pipeline, evaluate, phase_key
from slimfront.evaluators.supernet import (
    Shapes,
    Sharing,
    Supernet,
    cut,
    load_supernet,
    measure,
    supernet_file,
    supernet_for,
)
from slimfront.evaluators.supernet.cutting import align_shortcuts
from slimfront.evaluators.supernet.training import train_shared
from slimfront.evaluators.training.augmentation import normalise
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError, accuracy
from slimfront.evaluators.training.views import Views
from slimfront.models import build
from slimfront.spaces import Architecture, Augmentation, Bits, Candidate, CandidateError, Recipe

LARGEST = Architecture("residual", 8, 1, (12, 16), (1, 2), (1, 2), shortcut="padding")
SHAPES = Shapes(LARGEST, (8,), ((8, 12), (12, 16)), ((1,), (1, 2)))
SHARING = Sharing(
    SHAPES,
    Recipe(epochs=3, batch_size=16, learning_rate=0.1, averaging=0.9),
    Augmentation(flip=False, crop=1),
    alone=1,
    drawn=1,
)
SEED = 3
Trained = tuple[list[Any], Supernet]  # every epoch, and what they led to


@pytest.fixture(scope="module")
def digits() -> SearchData:
    return search_data("digits")


def _last(generator: Generator[Epoch, None, Any]) -> tuple[list[Any], Any]:
    epochs = []
    while True:
        try:
            epochs.append(next(generator))
        except StopIteration as end:
            return epochs, end.value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("supernets")


@pytest.fixture(scope="module")
def trained(digits: SearchData, folder: Path) -> Iterator[Trained]:
    """By two threads, in one go."""
    return _last(supernet_for(SHARING, digits, SEED, threads=2, folder=folder))


def _same(supernet: Supernet, other: Supernet) -> bool:
    state = other.network.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in supernet.network.state_dict().items())


def _told(epochs: list[Any]) -> list[tuple[Any, ...]]:
    return [(epoch.stage, epoch.epoch, epoch.epochs, epoch.loss, epoch.accuracies) for epoch in epochs]


def test_all_shapes_learn(digits: SearchData, trained: Trained) -> None:
    epochs, supernet = trained
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    for shape in SHAPES:
        network = cut(supernet, shape, digits.train)
        assert network.architecture == shape
        assert accuracy(network, digits.validation) > 0.25  # 0.1 is guessing


def test_quick_measures_agree_with_the_accuracy_that_counts(digits: SearchData, trained: Trained) -> None:
    cuts = [cut(trained[1], shape, digits.train) for shape in (SHAPES.smallest, SHAPES.largest)]
    found = list(measure(cuts, digits.validation))
    assert [item.accuracy for item in found] == [
        pytest.approx(accuracy(network, digits.validation), abs=2 / 300) for network in cuts
    ]
    with torch.no_grad():
        logits = cuts[0](normalise(digits.validation.images))
    loss = torch.nn.functional.cross_entropy(logits, digits.validation.labels)
    assert found[0].loss == pytest.approx(float(loss), rel=0.02)


KILLED = """
import sys
from pathlib import Path
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.supernet import supernet_for
from tests.evaluators.test_supernet import SEED, SHARING
for epoch in supernet_for(SHARING, search_data("digits"), SEED, threads=2, folder=Path(sys.argv[1])):
    print(epoch.epoch, flush=True)
"""


def test_threads_and_kills_change_no_bit(tmp_path: Path, digits: SearchData, trained: Trained) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        time.sleep(0.05)  # within the second epoch, wherever that is
        process.send_signal(signal.SIGKILL)
    with pytest.raises(TrainingError, match="no trained supernet"):
        load_supernet(supernet_file(SHARING, digits, SEED, folder=tmp_path))
    generator = supernet_for(SHARING, digits, SEED, threads=1, folder=tmp_path)
    assert [next(generator).epoch for _ in range(2)] == [1, 2]
    generator.close()
    epochs, supernet = _last(supernet_for(SHARING, digits, SEED, threads=1, folder=tmp_path))
    assert _same(supernet, trained[1])
    assert _told(epochs) == _told(trained[0])


def test_a_supernet_is_used_again(digits: SearchData, folder: Path, trained: Trained) -> None:
    path = supernet_file(SHARING, digits, SEED, folder=folder)
    written = path.stat().st_ino
    epochs, supernet = _last(supernet_for(SHARING, digits, SEED, folder=folder))
    assert path.stat().st_ino == written
    assert _told(epochs) == _told(trained[0])
    assert _same(supernet, trained[1])
    record = supernet.record
    assert record["core_seconds"] > 0
    assert record["shapes"] == 8
    assert record["data"]["digest"] == digits.digest
    assert record["watched"][:2] == [SHAPES.smallest.to_dict(), SHAPES.largest.to_dict()]
    assert [len(epoch["accuracies"]) for epoch in record["curve"]] == [4] * 3
    assert path.with_suffix(".json").exists()


def test_no_other_study_gets_it(digits: SearchData) -> None:
    """Other data, another space, another recipe: another supernet."""

    def key(sharing: Sharing = SHARING, data: SearchData = digits, seed: int = SEED) -> str:
        return supernet_file(sharing, data, seed, folder=Path()).stem

    other_shapes = dataclasses.replace(SHAPES, widths=((8, 10, 12), (12, 16)))
    taught = dataclasses.replace(SHARING.recipe, teacher="resnet20", distillation=1.0)
    keys = [
        key(),
        key(data=dataclasses.replace(digits, digest="0" * 16)),
        key(seed=4),
        key(dataclasses.replace(SHARING, shapes=other_shapes)),
        key(dataclasses.replace(SHARING, alone=2)),
        key(dataclasses.replace(SHARING, augmentation=Augmentation(flip=False, crop=0))),
        key(dataclasses.replace(SHARING, recipe=dataclasses.replace(SHARING.recipe, epochs=5))),
        key(dataclasses.replace(SHARING, recipe=taught)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(Sharing.from_json(SHARING.to_json())) == key()


def test_the_teachers_answers_are_learnt(digits: SearchData) -> None:
    """A teacher that is off by one class has pupils that are."""
    moves = torch.ones(2, len(digits.train), 3, dtype=torch.uint8)
    moves[:, :, 2] = 0
    wrong = torch.nn.functional.one_hot((digits.train.labels + 1) % 10, 10)
    views = Views(moves, (20.0 * wrong).half().expand(2, -1, -1).contiguous())
    sharing = dataclasses.replace(
        SHARING, recipe=dataclasses.replace(SHARING.recipe, teacher="resnet20", distillation=1.0, epochs=2), alone=0
    )
    network = build(SHAPES.largest, 10, channels=1, seed=0)
    align_shortcuts(network)
    context = TrainContext(
        images=digits.train,
        validation=dataclasses.replace(digits.validation, labels=(digits.validation.labels + 1) % 10),
        recipe=sharing.recipe,
        augmentation=sharing.augmentation,
        classes=10,
        seed=0,
        teacher=views,
    )
    [*_, last] = train_shared(network, sharing, context, {})
    assert min(last.accuracies) > 0.3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"alone": 3}, "alone"),
        ({"drawn": 0}, "drawn"),
        ({"recipe": Recipe(teacher="dense", distillation=0.5)}, "recipe.teacher"),
        (
            {
                "recipe": Recipe(teacher="resnet20", distillation=0.5),
                "augmentation": Augmentation(policy="mixup", strength=0.2),
            },
            "augmentation.policy",
        ),
    ],
)
def test_a_training_that_cannot_be_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(CandidateError, match=named):
        dataclasses.replace(SHARING, **change)


def test_too_few_images_are_told(digits: SearchData, tmp_path: Path) -> None:
    few = dataclasses.replace(digits, train=digits.train.subset(torch.arange(5)), digest="few")
    with pytest.raises(TrainingError, match="too few"):
        _last(supernet_for(SHARING, few, SEED, folder=tmp_path))


def _job(architecture: Architecture, supernets: Path, digits: SearchData, **other: Any) -> Job:
    candidate = Candidate(
        architecture,
        augmentation=SHARING.augmentation,
        recipe=SHARING.recipe,
        bits=Bits(weights=(4,), activations=(4,), stem=8, classifier=8, epochs=1),
    )
    path = supernet_file(SHARING, digits, SEED, folder=supernets)
    return Job(candidate=candidate, dataset="digits", seed=0, supernet=path, **other)


def test_a_job_starts_from_inherited_weights(
    digits: SearchData, folder: Path, trained: Trained, tmp_path: Path
) -> None:
    job = _job(SHAPES.smallest, folder, digits, folder=tmp_path)
    epochs, result = _last(evaluate(job, digits))
    assert isinstance(result, Result)
    assert [(epoch.stage, epoch.epoch) for epoch in epochs] == [("dense", 0), ("bits", 0), ("bits", 1)]
    inherited = accuracy(cut(trained[1], SHAPES.smallest, digits.train), digits.validation)
    assert epochs[0].accuracy == pytest.approx(inherited)
    assert result.facts["inherited"]["supernet"] == trained[1].key
    assert any(trained[1].key in note for note in result.notes)
    assert result.accuracy > 0.25
    alone = dataclasses.replace(job, supernet=None)  # its checkpoints are not taken up by the same from scratch
    assert phase_key(alone, digits.digest) != phase_key(job, digits.digest)


def test_an_inherited_network_is_stored_as_it_is(
    digits: SearchData, folder: Path, trained: Trained, tmp_path: Path
) -> None:
    """Its shortcuts place their channels as no freshly built network's do."""
    pipeline = Pipeline(_job(SHAPES.largest, folder, digits), digits)
    for _ in pipeline.run():
        pass
    network = pipeline.network.eval()
    save(network, tmp_path / "network.slim", digits.input_shape, accuracy=0.5, provenance={})
    images = normalise(digits.validation.images[:50])
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "network.slim").network(images), network(images))


@pytest.mark.usefixtures("trained")
def test_a_supernet_that_does_not_fit_is_told(digits: SearchData, folder: Path) -> None:
    job = _job(dataclasses.replace(SHAPES.smallest, stem_width=6), folder, digits)
    with pytest.raises(TrainingError, match="does not hold the shape"):
        next(evaluate(job, digits))
    other = dataclasses.replace(digits, digest="0" * 16)
    with pytest.raises(TrainingError, match="trained on other data"):
        next(evaluate(_job(SHAPES.smallest, folder, digits), other))
    gone = _job(SHAPES.smallest, folder / "elsewhere", digits)
    with pytest.raises(TrainingError, match="train it again"):
        next(evaluate(gone, digits))
