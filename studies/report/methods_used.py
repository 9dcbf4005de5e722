"""In words, with their papers: the methods that candidates use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from slimfront.spaces import Candidate, method_name
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER, Sparsity
from slimfront.spaces.criteria import METHODS
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.family import shape as architecture_shape
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS
from slimfront.spaces.policies import NO_POLICY, POLICIES
from slimfront.spaces.registry import Registry

UNDESCRIBED = "no description"  # of a member that says nothing of itself, or that this command was not given
ORDER = ("network", "training", "augmentation", "pruning", "quantization")


class Method(NamedTuple):
    """A method: where it belongs (one of ORDER), its name, in a few words, its source."""

    phase: str
    name: str
    words: str
    source: str


AVERAGING = Method(
    "training", "Weight averaging", "the network is a moving average of the weights", "Polyak and Juditsky 1992"
)
STARTING = Method("training", "Starting weights", "the training begins with weights of the user's own", "")
SMOOTHING = Method(
    "training",
    "Label smoothing",
    "mixes every label with the uniform distribution",
    "Szegedy et al. 2015, arXiv:1512.00567",
)
LEARNED_STEPS = Method(
    "quantization",
    "Learned step sizes",
    "integer weights and layer inputs, whose steps are trained",
    "Esser et al. 2019, arXiv:1902.08153",
)
ROUNDING = Method("quantization", "Rounding after training", "integer weights and layer inputs, with no training", "")
HALF = Method("quantization", "Half precision", "weights or layer inputs rounded to 16 bits", "IEEE 754")


def shape(candidate: Candidate) -> str:
    """ "residual 16-32-64 × 3-3-3"."""
    return architecture_shape(candidate.architecture, times="×")


def describe(candidate: Candidate) -> str:
    """A network in a few words: "residual 16-32-64 x 1-2-2, W3A3, 40 % pruned"; nothing of bits where all are 32."""
    bits, words = candidate.bits, [architecture_shape(candidate.architecture)]
    if not bits.is_float:
        words.append(f"W{'/'.join(map(str, bits.weights))}A{'/'.join(map(str, bits.activations))}")
    filters, weights = candidate.pruning.filters, candidate.pruning.weights
    shares = [f"{_asked(filters)} of filters"] if filters is not None else []
    shares += [_asked(weights)] if weights is not None else []
    return ", ".join([*words, *([f"{' and '.join(shares)} pruned"] if shares else [])])


def _asked(step: Sparsity) -> str:
    """ "40 %", or "10-40 %" where stages differ."""
    shares = sorted({round(100 * ratio) for ratio in step.ratios or (step.ratio,)})
    return f"{'-'.join(map(str, dict.fromkeys((shares[0], shares[-1]))))} %"


def augmentation(candidate: Candidate) -> str:
    """ "flip, crop 4, cutout 0.25"."""
    chosen = candidate.augmentation
    words = ["flip"] if chosen.flip else []
    words += [f"crop {chosen.crop}"] if chosen.crop else []
    words += [f"{chosen.policy} {chosen.strength:.3g}"] if chosen.policy != NO_POLICY else []
    return ", ".join(words) or "none"


def training(candidate: Candidate) -> str:
    """ "sgd 0.12, decay 4.1e-05, 20 epochs"."""
    recipe = candidate.recipe
    words = [f"{recipe.optimizer} {recipe.learning_rate:.2g}", f"decay {recipe.weight_decay:.1e}"]
    words.append(f"{recipe.epochs} epochs")
    if recipe.distillation:
        words.append(f"teacher {recipe.teacher}")
    return ", ".join(words)


def step(pruning: Sparsity | None) -> str:
    """ "li_filters 30 %"."""
    if pruning is None:
        return "none"
    ratio = "/".join(f"{r:.0%}" for r in pruning.ratios) or f"{pruning.ratio:.0%}"
    return f"{method_name(pruning)} {ratio}"


def pruning(candidate: Candidate) -> str:
    """Both steps, or "none"."""
    both = [step(part) for part in (candidate.pruning.filters, candidate.pruning.weights) if part is not None]
    return ", ".join(both) or "none"


def bits(candidate: Candidate) -> str:
    """ "W4 A4, stem and classifier 8"."""
    chosen = candidate.bits
    weights, activations = ("/".join(map(str, values)) for values in (chosen.weights, chosen.activations))
    outer = {chosen.stem, chosen.classifier}
    told = f", stem {chosen.stem}, classifier {chosen.classifier}"
    if len(outer) == 1:
        told = "" if outer == {*chosen.weights} else f", stem and classifier {chosen.stem}"
    return f"W{weights}\u00a0A{activations}{told}"


def choices(candidate: Candidate) -> dict[str, str]:
    """What the candidate chooses, by kind: network, training, augmentation, pruning, bits."""
    return {
        "network": shape(candidate),
        "training": training(candidate),
        "augmentation": augmentation(candidate),
        "pruning": pruning(candidate),
        "bits": bits(candidate),
    }


def used(candidates: Iterable[Candidate]) -> list[Method]:
    """Every method that one of the candidates uses, each once, in the order of the phases."""
    found: dict[Method, None] = {}
    for candidate in candidates:
        found |= dict.fromkeys(_used(candidate))
    return sorted(found, key=lambda method: ORDER.index(method.phase))


def _described(phase: str, name: str, registry: Registry[Any]) -> Method:
    """What a member says of itself; a user's own that was not given to this command is not imported for that."""
    member = registry.find(name)
    if member is None:
        return Method(phase, name, UNDESCRIBED, "")
    return Method(phase, member.title or name, member.words or UNDESCRIBED, member.paper)


def _used(candidate: Candidate) -> Iterator[Method]:
    recipe, bits = candidate.recipe, candidate.bits
    yield _described("network", candidate.architecture.family, FAMILIES)
    yield _described("training", recipe.optimizer, OPTIMIZERS)
    yield _described("training", recipe.decay, DECAYS)
    if recipe.distillation:
        source = "Hinton et al. 2015, arXiv:1503.02531"
        teacher = "itself before compression" if recipe.teacher == UNCOMPRESSED_TEACHER else recipe.teacher
        yield Method("training", "Distillation", f"learns the softened outputs of {teacher}", source)
    if recipe.starting_weights:
        yield STARTING
    if recipe.averaging:
        yield AVERAGING
    if recipe.label_smoothing:
        yield SMOOTHING
    if candidate.augmentation.policy != NO_POLICY:
        yield _described("augmentation", candidate.augmentation.policy, POLICIES)
    for part in (candidate.pruning.filters, candidate.pruning.weights):
        if part is not None:
            name = method_name(part)
            yield _described("pruning", name, METHODS)._replace(name=name)
    widths = {*bits.weights, *bits.activations, bits.stem, bits.classifier}
    if min(widths) <= 8:
        yield LEARNED_STEPS if bits.epochs else ROUNDING
    if 16 in widths:
        yield HALF
