from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slimfront.spaces import (
    Architecture,
    Augmentation,
    Bits,
    Candidate,
    CandidateError,
    Pruning,
    Recipe,
    presets,
    sparsity,
)


@pytest.mark.parametrize("name", presets)
def test_json_is_exact(name: str) -> None:
    candidate = presets[name]
    again = Candidate.from_json(candidate.to_json())
    assert again == candidate
    assert again.digest == candidate.digest


@given(
    rate=st.floats(1e-6, 10, allow_nan=False),
    widths=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    bits=st.sampled_from([1, 2, 3, 4, 8, 16, 32]),
    ratio=st.floats(0, 0.99),
)
def test_json_is_exact_for_any_numbers(rate: float, widths: list[int], bits: int, ratio: float) -> None:
    stages = len(widths)
    candidate = Candidate(
        Architecture("residual", 8, 1, tuple(widths), (1,) * stages, (1,) * stages, shortcut="projection"),
        pruning=Pruning(filters=sparsity("li_filters", ratio, 3), weights=sparsity("han", ratio)),
        bits=Bits.uniform(bits, bits),
        recipe=Recipe(learning_rate=rate),
    )
    assert Candidate.from_json(candidate.to_json()) == candidate
    # Written part by part, and the same text as in one go: digests of published results depend on it.
    whole = json.dumps(candidate.to_dict(), sort_keys=True, separators=(",", ":"))
    assert candidate.to_json() == whole
    assert candidate.pruning.to_json() in whole


def test_equal_parts_are_one_object() -> None:
    first = presets["resnet20"].to_dict()
    other = first | {"bits": Bits.uniform(4, 4).to_dict()}
    one, two = Candidate.from_dict(first), Candidate.from_dict(other)
    assert one.architecture is two.architecture
    assert one.recipe is two.recipe
    assert one.bits != two.bits
    changed = Candidate.from_dict(first | {"augmentation": first["augmentation"] | {"crop": 1}})
    assert changed.augmentation.crop == 1
    with pytest.raises(CandidateError, match="crop"):  # equal to 1, but no number
        Candidate.from_dict(first | {"augmentation": first["augmentation"] | {"crop": True}})


def test_what_is_nested_too_deeply_is_an_error_in_words() -> None:
    first = presets["resnet20"].to_json()
    for depth in range(900, 1000):  # some of these json reads, and cannot write again
        nested = "[" * depth + "]" * depth
        with pytest.raises(CandidateError):
            Candidate.from_json(first.replace('"crop":4', f'"crop":{nested}'))


def test_whole_numbers_and_floats_have_one_digest() -> None:
    text = presets["resnet20"].to_json()
    data = json.loads(text)
    data["recipe"]["label_smoothing"] = 0  # a person, or another JSON writer, leaves the point out
    assert Candidate.from_dict(data).digest == presets["resnet20"].digest


def test_digest_is_the_same_in_another_process() -> None:
    code = "from slimfront.spaces import presets; print(presets['resnet18'].digest)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == presets["resnet18"].digest
    # Fixed for good: caches and published results are found by it.
    assert presets["resnet20"].architecture.digest == RESNET20_ARCHITECTURE


RESNET20_ARCHITECTURE = Architecture("residual", 16, 1, (16, 32, 64), (3, 3, 3), (1, 2, 2), shortcut="padding").digest


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Augmentation(crop=-1), ["augmentation.crop", "-1", "0..16"]),
        (lambda: Augmentation(policy="blur", strength=1.0), ["augmentation.policy", "blur", "cutmix"]),
        (lambda: Augmentation(strength=0.5), ["augmentation.strength", "0.5"]),
        (lambda: Bits(weights=(9,)), ["bits.weights", "9", "16"]),
        (lambda: Bits(path=(3, 4)), ["bits.path", "falling"]),
        (lambda: Recipe(learning_rate=float("nan")), ["recipe.learning_rate", "nan"]),
        (lambda: Recipe(epochs=0), ["recipe.epochs", "0"]),
        (lambda: Recipe(epochs=True), ["recipe.epochs", "True"]),
        (lambda: Recipe(distillation=0.5), ["recipe.teacher", "None"]),
        (lambda: sparsity("han", 1.0), ["sparsity.ratio", "1.0", "[0, 1)"]),
        (lambda: sparsity("magic", 0.5), ["magic", "thinet"]),
        (lambda: Architecture("plain", 8, 1, (8,), (1,), (1,)), ["architecture.family", "plain"]),
        (lambda: Architecture("residual", 8, 1, (8, 8), (1,), (1, 2), "padding"), ["architecture.depths", "2"]),
        (lambda: Architecture("residual", 8, 1, (8,), (1,), (1,)), ["architecture.shortcut", "None"]),
        (lambda: Architecture("dense", 8, 1, (8,), (1,), (1,)), ["architecture.compression"]),
        (
            lambda: Architecture("inverted", 8, 1, (8,), (1,), (1,), kernels=(4,), expansions=(2,)),
            ["kernels", "1, 3, 5, 7"],
        ),
        (lambda: Candidate.from_json("{"), ["not valid JSON"]),
        (lambda: Candidate.from_json("[]"), ["candidate"]),
        (lambda: Candidate.from_json('{"architecture": null}'), ["candidate.architecture"]),
        (lambda: Recipe.from_json('{"speed": 1}'), ["recipe.speed", "unknown"]),
        (lambda: dataclasses.replace(presets["resnet8"], bits=Bits(weights=(4, 2))), ["bits.weights", "3 entries"]),
    ],
)
def test_bad_values_are_refused_by_name(make: object, words: list[str]) -> None:
    with pytest.raises(CandidateError) as caught:
        make()  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_dense_digest_ignores_compression() -> None:
    plain = presets["resnet8"]
    compressed = dataclasses.replace(plain, bits=Bits.uniform(4, 4), pruning=Pruning(weights=sparsity("han", 0.5)))
    assert compressed.uncompressed_digest == plain.uncompressed_digest
    assert compressed.digest != plain.digest
    slower = dataclasses.replace(plain, recipe=Recipe(learning_rate=0.01))
    assert slower.uncompressed_digest != plain.uncompressed_digest


def test_what_the_dense_network_teaches_later_does_not_change_its_own_training() -> None:
    plain = presets["resnet8"]
    taught = dataclasses.replace(
        plain, recipe=dataclasses.replace(plain.recipe, teacher="dense", distillation=0.7, temperature=2.0)
    )
    assert taught.uncompressed_digest == plain.uncompressed_digest
    assert taught.digest != plain.digest
    assert taught.recipe.uncompressed == plain.recipe
    other = dataclasses.replace(taught, recipe=dataclasses.replace(taught.recipe, teacher="resnet20"))
    assert other.uncompressed_digest != plain.uncompressed_digest


def test_slimming_changes_the_dense_training() -> None:
    plain = presets["resnet8"]
    slimmed = dataclasses.replace(plain, pruning=Pruning(filters=sparsity("slimming", 0.3)))
    assert slimmed.uncompressed_digest != plain.uncompressed_digest
