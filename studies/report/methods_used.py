"""In words, with their papers: the methods that candidates use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from slimfront.spaces import Candidate, method_name
from slimfront.spaces.candidate import UNCOMPRESSED_TEACHER, Sparsity
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.family import shape as architecture_shape

_OPTIMIZERS = {
    "sgd": ("SGD", "with Nesterov momentum", "Sutskever et al. 2013"),
    "adamw": ("AdamW", "adaptive steps, weight decay apart from them", "Loshchilov and Hutter 2017, arXiv:1711.05101"),
    "muon": ("Muon", "orthogonalised updates of the weight matrices", "Jordan et al. 2024"),
}
_POLICIES = {
    "cutout": ("Cutout", "a grey square on every image", "DeVries and Taylor 2017, arXiv:1708.04552"),
    "mixup": ("Mixup", "mixes two images and their labels", "Zhang et al. 2017, arXiv:1710.09412"),
    "cutmix": ("CutMix", "pastes a part of another image", "Yun et al. 2019, arXiv:1905.04899"),
    "light": ("Light changes", "brightness, contrast or saturation", ""),
}
_DECAYS = {
    "cosine": ("Cosine decay", "of the learning rate, after a warm-up", "Loshchilov and Hutter 2016, arXiv:1608.03983"),
    "linear": ("Linear decay", "of the learning rate to zero, after a warm-up", ""),
}
_PRUNING = {
    "global_l1": ("smallest weights of the whole network, at once", ""),
    "han": ("smallest weights of the whole network, in rounds", "Han et al. 2015, arXiv:1506.02626"),
    "gradual": ("more and more weights while it trains", "Zhu and Gupta 2017, arXiv:1710.01878"),
    "taylor_weights": ("weights that the loss needs least, in rounds", "Molchanov et al. 2019, arXiv:1906.10771"),
    "random": ("weights at random: the control", ""),
    "li_filters": ("filters of the smallest L1 norm, layer by layer", "Li et al. 2016, arXiv:1608.08710"),
    "thinet": ("filters that the next layer misses least", "Luo et al. 2017, arXiv:1707.06342"),
    "slimming": ("filters of the smallest batch-norm scale", "Liu et al. 2017, arXiv:1708.06519"),
    "taylor": ("filters that the loss needs least, in rounds", "Molchanov et al. 2016, arXiv:1611.06440"),
    "random_filters": ("filters at random: the control", ""),
}
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
    words += [f"{chosen.policy} {chosen.strength:.3g}"] if chosen.policy != "none" else []
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


def _used(candidate: Candidate) -> Iterator[Method]:
    recipe, bits = candidate.recipe, candidate.bits
    name = candidate.architecture.family
    family = FAMILIES.find(name)
    if family is None:
        yield Method("network", name, "a family of your own", "")
    else:
        yield Method("network", family.title, family.words, family.paper)
    yield Method("training", *_OPTIMIZERS[recipe.optimizer])
    yield Method("training", *_DECAYS[recipe.decay])
    if recipe.distillation:
        source = "Hinton et al. 2015, arXiv:1503.02531"
        teacher = "itself before compression" if recipe.teacher == UNCOMPRESSED_TEACHER else recipe.teacher
        yield Method("training", "Distillation", f"learns the softened outputs of {teacher}", source)
    if recipe.averaging:
        yield Method("training", "Weight averaging", "a moving average of the weights counts", "Polyak, Juditsky 1992")
    if recipe.label_smoothing:
        yield Method("training", "Label smoothing", "a little doubt in every label", "Szegedy et al. 2015")
    if candidate.augmentation.policy in _POLICIES:
        yield Method("augmentation", *_POLICIES[candidate.augmentation.policy])
    for part in (candidate.pruning.filters, candidate.pruning.weights):
        if part is not None:
            yield Method("pruning", method_name(part), *_PRUNING.get(method_name(part), ("of its own", "")))
    widths = {*bits.weights, *bits.activations, bits.stem, bits.classifier}
    if min(widths) <= 8:
        if bits.epochs:
            source = "Esser et al. 2019, arXiv:1902.08153"
            yield Method("quantization", "Learned step sizes", "integer weights and layer inputs", source)
        else:
            yield Method("quantization", "Rounding after training", "integer weights and layer inputs", "")
    if 16 in widths:
        yield Method("quantization", "Half precision", "weights or layer inputs rounded to 16 bits", "IEEE 754")
