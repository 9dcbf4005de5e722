from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slimfront.spaces import Candidate, Space, SpaceError, method_name, presets, sparsity
from slimfront.spaces.criteria import METHODS

EVERYTHING = """
[architecture]
family = ["residual", "inverted", "dense"]
[architecture.residual]
stem_width = [8, 16]
stages = [2, 3]
width = { low = 8, high = 64, step = 8 }
depth = { low = 1, high = 3 }
shortcut = ["padding", "projection"]
head_width = [0, 64]
[architecture.inverted]
stem_width = 8
stem_stride = [1, 2]
stages = 3
width = [16, 24]
depth = 1
expansion = [2, 3, 4]
kernel = [3, 5]
[architecture.dense]
stem_width = 8
stages = 2
width = [8, 12]
depth = 2
compression = { low = 0.3, high = 1.0 }
[augmentation]
flip = [true, false]
policy = ["none", "mixup", "cutout"]
mixup.strength = { low = 0.1, high = 1.0 }
[pruning.filters]
method = ["none", "li_filters", "thinet"]
[pruning.weights]
method = ["none", "global_l1"]
ratio = [0.3, 0.5]
[bits]
weights = [2, 3, 4, 8]
activations = [3, 4, 8]
per_stage = [true, false]
epochs = [0, 3]
[recipe]
optimizer = ["sgd", "muon"]
sgd.learning_rate = { low = 0.01, high = 0.3, log = true }
weight_decay = { low = 1e-5, high = 1e-3, log = true }
"""
MINIMAL = "[architecture.residual]\nstem_width = 16\nstages = 3\nwidth = 16\ndepth = 1\n"


def _sampled(space: Space, seed: int, count: int) -> list[tuple[Candidate, dict[str, object]]]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        found.append((space.sample(trial), trial.params))
    return found


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_parameters_are_the_inverse_of_sampling(seed: int) -> None:
    space = Space.from_toml(EVERYTHING)
    for candidate, _ in _sampled(space, seed, 5):
        fixed = optuna.trial.FixedTrial(space.parameters(candidate))  # type: ignore[arg-type]
        assert space.sample(fixed) == candidate


def test_parameters_exist_only_where_they_mean_something() -> None:
    for candidate, names in _sampled(Space.from_toml(EVERYTHING), 1, 60):
        family, stages = candidate.architecture.family, len(candidate.architecture.widths)
        assert all(
            not name.startswith(other) for other in {"residual", "inverted", "dense"} - {family} for name in names
        )
        if family == "residual":
            assert ("residual.width.2" in names) == (stages == 3)
        assert ("mixup.strength" in names) == (candidate.augmentation.policy == "mixup")
        assert ("pruning.filters.ratio" in names) == (candidate.pruning.filters is not None)
        assert ("sgd.learning_rate" in names) == (candidate.recipe.optimizer == "sgd")


def test_sampling_is_repeatable() -> None:
    space = Space.from_toml(EVERYTHING)
    assert _sampled(space, 3, 10) == _sampled(space, 3, 10)


def test_fixed_values_are_not_parameters() -> None:
    [(candidate, names)] = _sampled(Space.from_toml(MINIMAL), 0, 1)
    assert names == {}
    assert candidate.architecture.widths == (16, 16, 16)


def test_one_stage_may_be_an_exception() -> None:
    [(candidate, names)] = _sampled(Space.from_toml(MINIMAL + '"width.2" = [32, 64]'), 0, 1)
    assert set(names) == {"residual.width.2"}
    assert candidate.architecture.widths[:2] == (16, 16)


def test_a_stage_may_have_a_domain_of_its_own() -> None:
    text = MINIMAL.replace("width = 16\ndepth", "width = 16\nwidth.2 = [32, 64]\ndepth").replace(
        "width = 16\nwidth.2", "width.0 = 16\nwidth.1 = 16\nwidth.2"
    )
    [(candidate, names)] = _sampled(Space.from_toml(text), 0, 1)
    assert set(names) == {"residual.width.2"}
    assert candidate.architecture.widths[:2] == (16, 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "speed = 1", ["architecture.residual.speed", "unknown"]),
        (MINIMAL + "[recipe]\nepochs = []", ["recipe.epochs", "no choices"]),
        (MINIMAL + "[recipe]\nepochs = { low = 9, high = 3 }", ["recipe.epochs", "reversed", "9", "3"]),
        (MINIMAL + "[recipe]\nepochs = { low = 1 }", ["recipe.epochs.high"]),
        (MINIMAL + "[recipe]\nweight_decay = { low = 0, high = 1, log = true }", ["recipe.weight_decay.low"]),
        (MINIMAL + "[recipe]\nweight_decay = { low = 0.1, high = 1, stride = 2 }", ["recipe.weight_decay.stride"]),
        (MINIMAL + "[recipe]\nepochs = [3, 3]", ["recipe.epochs", "twice"]),
        (MINIMAL + "[pruning.filters]\nmethod = 'han'", ["pruning.filters.method", "han"]),
        (MINIMAL + "[recipe]\noptimizer = ['sgd', 'adam']", ["recipe.optimizer", "'adam'", "adamw"]),
        (MINIMAL + "[recipe]\nlearning_rate = 0.1", ["did you mean recipe.sgd.learning_rate?"]),
        (MINIMAL + "[recipe]\ndecay = ['cosine', 'step']", ["recipe.decay", "'step'", "linear"]),
        (MINIMAL + "[recipe]\nteacher = 'resnet20'", ["recipe.teacher", "distillation"]),
        (MINIMAL + "[recipe]\nteacher = 'resnet21'\ndistillation = 0.5", ["recipe.teacher", "resnet20"]),
        (MINIMAL + "[recipe]\ndistillation = [0.0, 0.5]", ["recipe.teacher must be named"]),
        (MINIMAL + "[bits]\nweights = [4, 9]", ["bits.weights", "9"]),
        (MINIMAL.replace("width = 16\nd", "width.0 = 16\nd"), ["architecture.residual.width.1 is missing"]),
        (MINIMAL + "'width.3' = 16", ["architecture.residual.width.3", "at most 3"]),
        (MINIMAL + "stride.0 = 1", ["architecture.residual.stride.0", "architecture.residual.first_stride"]),
        (MINIMAL + "[bits]\nweights.0 = 4", ["bits.weights.0", "bits.per_stage"]),
        (MINIMAL + "[bits]\nper_stage = true\nactivations.3 = 4", ["bits.activations.3", "at most 3"]),
        (MINIMAL + "[bits]\nper_stage = 3", ["bits.per_stage", "truth value"]),
        (MINIMAL + "[augmentation]\npolicy = 'cutout'\ncutout.strength = 7.0", ["augmentation.strength", "7.0"]),
        (MINIMAL + "[pruning.weights]\nmethod = 'han'\nratio = [0.5, 1.5]", ["ratio", "1.5"]),
        (MINIMAL.replace("width = 16", "width = 'wide'", 1), ["'wide'"]),
        ("[architecture]\nfamily = 'plain'", ["architecture.family", "plain"]),
        ("[architecture]\nfamily = 'residal'", ["architecture.family", "did you mean residual", "inverted"]),
        ("[architecture]\nfamily = ['mine.py:PLAIN']", ["architecture.family", "--allow mine.py:PLAIN"]),
        (MINIMAL + "groups = 2\n", ["architecture.residual.groups", "architecture.bottleneck.groups"]),
        ("[architecture.residual]\nstem_width = 16", ["is missing"]),
        ("width = = 3", ["not valid TOML"]),
    ],
)
def test_errors_name_the_key(text: str, words: list[str]) -> None:
    with pytest.raises(SpaceError) as caught:
        Space.from_toml(text)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="No such file"):
        Space.from_toml(tmp_path / "none.toml")


def test_a_candidate_outside_is_refused_by_key() -> None:
    with pytest.raises(SpaceError, match=r"architecture\.residual\.width\.1"):
        Space.from_toml(MINIMAL).parameters(presets["resnet20"])


@pytest.mark.parametrize("method", METHODS.names)
def test_methods_are_found_by_their_axes(method: str) -> None:
    assert method_name(sparsity(method, 0.3, epochs=2)) == method
