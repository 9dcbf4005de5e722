"""A candidate through all stages, on real digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from slimfront.evaluators import quantization
from slimfront.evaluators.data.splits import SearchData, search_data
from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.pipeline import Pipeline, evaluate, uncompressed_key
from slimfront.evaluators.scoring import expected as expecting
from slimfront.evaluators.scoring.expected import expected_score
from slimfront.evaluators.scoring.score import Score, score
from slimfront.evaluators.training.context import TrainContext
from slimfront.evaluators.training.loop import Epoch, TrainingError, accuracy
from slimfront.models.quantization.quantizers import quantized_layers
from slimfront.spaces import Architecture, Augmentation, Bits, Candidate, Pruning, Recipe, presets, sparsity
from torch import nn

PLAIN = Candidate(
    Architecture("residual", 8, 1, (8, 12), (1, 1), (1, 2), shortcut="padding"),
    augmentation=Augmentation(flip=False, crop=0),
    recipe=Recipe(epochs=6, batch_size=64),
)
COMPRESSED = dataclasses.replace(
    PLAIN,
    pruning=Pruning(filters=sparsity("li_filters", 0.25, 3), weights=sparsity("global_l1", 0.5, 2)),
    bits=Bits(weights=(4,), activations=(4,), stem=8, classifier=8, epochs=3),
)


@pytest.fixture(scope="module")
def digits() -> SearchData:
    return search_data("digits")


def _job(candidate: Candidate, **other: object) -> Job:
    return Job(candidate=candidate, dataset="digits", seed=0, **other)  # type: ignore[arg-type]


def _run(job: Job, data: SearchData) -> tuple[list[Epoch], Result]:
    generator = evaluate(job, data)
    epochs = []
    while True:
        try:
            epochs.append(next(generator))
        except StopIteration as end:
            return epochs, end.value


def test_every_stage_leaves_its_mark(digits: SearchData) -> None:
    epochs, result = _run(_job(COMPRESSED), digits)
    numbers = {"dense": range(1, 7), "filters": range(4), "weights": range(3), "bits": range(4)}
    assert [(epoch.stage, epoch.epoch) for epoch in epochs] == [
        (name, n) for name, some in numbers.items() for n in some
    ]
    assert all((epoch.loss is None) == (epoch.epoch == 0) for epoch in epochs)
    assert set(result.accuracies) == {"dense", "filters", "weights", "bits"}
    assert result.accuracy > 0.5  # 0.1 is guessing; seeds differ by 0.1 after so few epochs
    dense = expected_score(PLAIN, digits.input_shape, digits.classes)
    assert result.score["macs"] < dense.macs
    assert result.score["stored_weights"] == pytest.approx(0.5 * result.score["weights"], abs=1)
    assert {layer["weight_bits"] for layer in result.score["layers"]} == {4, 8}
    books = result.facts["account"]
    assert 0 < books["p_s"] < 1
    assert books["p_s"] + books["p_u"] < 1


def test_the_score_is_known_before_training(digits: SearchData) -> None:
    _, result = _run(_job(COMPRESSED), digits)
    expected = expected_score(COMPRESSED, digits.input_shape, digits.classes)
    for key in ("score_ops", "macs", "weights", "stored_weights"):
        assert result.score[key] == pytest.approx(getattr(expected, key), rel=1e-12)
    # Single weights were chosen over the whole network: how many lie in the 8-bit layers, only training tells.
    assert result.score["score"] == pytest.approx(expected.score, rel=0.02)


def test_a_job_resumes_where_it_broke_off(tmp_path: Path, digits: SearchData) -> None:
    whole_epochs, whole = _run(_job(COMPRESSED, folder=tmp_path / "a"), digits)
    job = _job(COMPRESSED, folder=tmp_path / "b")
    for stop_after in (4, 8, 10, 12):  # in each of the stages
        generator = evaluate(job, digits)
        for _ in range(stop_after):
            next(generator)
        generator.close()
    epochs, result = _run(job, digits)
    assert [(e.stage, e.epoch, e.loss, e.accuracy) for e in epochs] == [
        (e.stage, e.epoch, e.loss, e.accuracy) for e in whole_epochs
    ]
    assert result.accuracy == whole.accuracy
    assert result.score == whole.score


def test_the_checkpoints_of_another_study_are_not_taken_up(tmp_path: Path, digits: SearchData) -> None:
    """The folder of a trial is named by its number, which a new study with the same name counts anew."""
    short = dataclasses.replace(PLAIN, recipe=dataclasses.replace(PLAIN.recipe, epochs=1))
    stored = []
    for ratio in (0.7, 0.2):
        pruned = dataclasses.replace(short, pruning=Pruning(weights=sparsity("global_l1", ratio, 1)))
        _, result = _run(_job(pruned, folder=tmp_path), digits)
        stored.append(result.score["stored_weights"] / result.score["weights"])
    assert stored == [pytest.approx(0.3, abs=0.01), pytest.approx(0.8, abs=0.01)]


def test_a_dense_training_is_shared_through_the_store(tmp_path: Path, digits: SearchData) -> None:
    store = tmp_path / "store"
    _run(_job(PLAIN, store=store), digits)
    [path] = store.iterdir()
    written = path.stat().st_ino
    rounded = dataclasses.replace(PLAIN, bits=Bits.uniform(8, 8))
    epochs, result = _run(_job(rounded, store=store), digits)
    assert [file.stat().st_ino for file in store.iterdir()] == [written]  # read, not written anew
    assert sum(epoch.stage == "dense" for epoch in epochs) == 6
    assert result.accuracies["dense"] > 0.7


def test_the_key_of_a_dense_training_is_what_it_depends_on() -> None:
    key = uncompressed_key(_job(PLAIN), "d")
    assert key == uncompressed_key(_job(COMPRESSED), "d")
    assert key != uncompressed_key(_job(PLAIN), "e")
    assert key != uncompressed_key(dataclasses.replace(_job(PLAIN), seed=1), "d")
    slower = dataclasses.replace(PLAIN, recipe=dataclasses.replace(PLAIN.recipe, learning_rate=0.01))
    assert key != uncompressed_key(_job(slower), "d")


def test_without_validation_nothing_is_measured(digits: SearchData) -> None:
    pipeline = Pipeline(_job(PLAIN), digits, validate=False)
    epochs = list(pipeline.run())
    assert len(epochs) == PLAIN.recipe.epochs
    assert all(epoch.accuracy is None for epoch in epochs)


def test_half_precision_is_really_rounded(digits: SearchData) -> None:
    pipeline = Pipeline(_job(dataclasses.replace(PLAIN, bits=Bits.uniform(16, 16))), digits)
    for _ in pipeline.run():
        pass
    weight = pipeline.network.stem.conv.weight.detach()
    assert (weight == weight.half().float()).all()


def test_an_unknown_teacher_is_a_reason(digits: SearchData) -> None:
    recipe = dataclasses.replace(PLAIN.recipe, teacher="nobody", distillation=0.5)
    with pytest.raises(TrainingError, match="nobody"):
        _run(_job(dataclasses.replace(PLAIN, recipe=recipe)), digits)
    assert "nobody" not in presets


def test_the_dense_network_teaches_the_stages_after_it(
    digits: SearchData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(PLAIN.recipe, epochs=1)
    plain = dataclasses.replace(PLAIN, recipe=recipe, bits=Bits.uniform(2, 2, outer=8, epochs=1))
    taught = dataclasses.replace(plain, recipe=dataclasses.replace(recipe, teacher="dense", distillation=1.0))
    teachers: list[nn.Module | None] = []
    real = quantization.train

    def watched(network: nn.Module, context: TrainContext) -> Iterator[Epoch]:
        assert context.teacher is None or isinstance(context.teacher, nn.Module)
        teachers.append(context.teacher)
        return real(network, context)

    monkeypatch.setattr(quantization, "train", watched)
    pipelines, curves = [], []
    for candidate in (plain, taught):
        pipelines.append(Pipeline(_job(candidate, store=tmp_path), digits))
        curves.append(list(pipelines[-1].run()))
    assert len(list(tmp_path.glob("dense-*"))) == 1  # one dense training serves both
    assert teachers[0] is None
    teacher = teachers[1]
    assert isinstance(teacher, nn.Module)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not quantized_layers(teacher)
    assert [accuracy(teacher, digits.validation)] == [e.accuracy for e in curves[0] if e.stage == "dense"]
    first, second = (pipeline.network.stem.conv.weight for pipeline in pipelines)
    assert not torch.equal(first, second)


def test_a_count_is_taken_over_only_within_an_architecture_and_images_of_a_shape():
    """Each of these differs from the first in one thing; whatever was counted before, it gets its own numbers."""
    first = presets["small_residual"]
    architecture = first.architecture
    pruned = dataclasses.replace(first, pruning=Pruning(filters=sparsity("li_filters", 0.5)))
    cases = [
        (first, (3, 32, 32), 10),
        (dataclasses.replace(first, bits=Bits.uniform(4, 4)), (3, 32, 32), 10),
        (dataclasses.replace(first, architecture=dataclasses.replace(architecture, stem_stride=1)), (3, 32, 32), 10),
        (
            dataclasses.replace(first, architecture=dataclasses.replace(architecture, shortcut="projection")),
            (3, 32, 32),
            10,
        ),
        (first, (3, 16, 16), 10),
        (first, (1, 32, 32), 10),
        (first, (3, 32, 32), 100),
        (pruned, (3, 32, 32), 10),
    ]
    fresh = []
    for case in cases:
        expecting._positions.clear()
        fresh.append(expected_score(*case))
    assert len({found.score for found in fresh}) == len(cases)
    expecting._positions.clear()
    assert [expected_score(*case) for case in [*cases, *reversed(cases)]] == [*fresh, *reversed(fresh)]
    assert len(expecting._positions) == len(cases) - 2  # bits and pruning change no positions


@pytest.mark.parametrize("preset", ["small_residual", "small_inverted", "small_dense"])
@pytest.mark.parametrize("granularity", ["filters", "weights"])
def test_multiply_adds_that_follow_from_the_whole_network_are_those_that_a_count_of_the_pruned_one_finds(
    preset: str, granularity: str, monkeypatch: pytest.MonkeyPatch
):
    networks: list[nn.Module] = []

    def kept(network: nn.Module, *arguments: Any, **options: Any) -> Score:
        networks.append(network)
        return score(network, *arguments, **options)

    monkeypatch.setattr(expecting, "score", kept)
    step = sparsity("li_filters" if granularity == "filters" else "global_l1", 0.4)
    candidate = dataclasses.replace(presets[preset], pruning=Pruning(**{granularity: step}))
    found = expected_score(candidate, (3, 32, 32), 10)
    assert score(networks[0], (3, 32, 32)) == found
    whole = expected_score(presets[preset], (3, 32, 32), 10)
    assert found.stored_weights < whole.stored_weights
    assert (found.macs < whole.macs) == (granularity == "filters")
