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

OF_ITS_OWN = "of its own"  # the words of what says nothing of itself
ORDER = ("network", "training", "augmentation", "pruning", "quantization")


class Method(NamedTuple):
    """A method: where it belongs (one of ORDER), its name, in a few words, its source."""

    phase: str
    name: str
    words: str
    source: str


def shape(candidate: Candidate) -> str:
    """ "residual 16-32-64 × 3-3-3"."""
    return architecture_shape(candidate.architecture, times="×")


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
    """ "W4 A4, edges 8"."""
    chosen = candidate.bits
    weights, activations = ("/".join(map(str, values)) for values in (chosen.weights, chosen.activations))
    edges = {chosen.stem, chosen.classifier}
    told = "" if edges == {*chosen.weights} else ", edges " + "/".join(map(str, (chosen.stem, chosen.classifier)))
    return f"W{weights}\u00a0A{activations}{told}"


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
        return Method(phase, name, OF_ITS_OWN, "")
    return Method(phase, member.title or name, member.words or OF_ITS_OWN, member.paper)


def _used(candidate: Candidate) -> Iterator[Method]:
    recipe, bits = candidate.recipe, candidate.bits
    yield _described("network", candidate.architecture.family, FAMILIES)
    yield _described("training", recipe.optimizer, OPTIMIZERS)
    yield _described("training", recipe.decay, DECAYS)
    if recipe.distillation:
        source = "Hinton et al. 2015, arXiv:1503.02531"
        teacher = "itself before compression" if recipe.teacher == UNCOMPRESSED_TEACHER else recipe.teacher
        yield Method("training", "Distillation", f"learns the softened outputs of {teacher}", source)
    if recipe.averaging:
        yield Method("training", "Weight averaging", "a moving average of the weights counts", "Polyak, Juditsky 1992")
    if recipe.label_smoothing:
        yield Method("training", "Label smoothing", "a little doubt in every label", "Szegedy et al. 2015")
    if candidate.augmentation.policy != NO_POLICY:
        yield _described("augmentation", candidate.augmentation.policy, POLICIES)
    for part in (candidate.pruning.filters, candidate.pruning.weights):
        if part is not None:
            name = method_name(part)
            yield _described("pruning", name, METHODS)._replace(name=name)
    widths = {*bits.weights, *bits.activations, bits.stem, bits.classifier}
    if min(widths) <= 8:
        if bits.epochs:
            source = "Esser et al. 2019, arXiv:1902.08153"
            yield Method("quantization", "Learned step sizes", "integer weights and layer inputs", source)
        else:
            yield Method("quantization", "Rounding after training", "integer weights and layer inputs", "")
    if 16 in widths:
        yield Method("quantization", "Half precision", "weights or layer inputs rounded to 16 bits", "IEEE 754")
