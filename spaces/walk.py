"""The one walk through the choices that make a candidate, and its inverse.

`walk` asks for a value at every turn: of an Optuna trial when a space samples, or of a candidate (`chosen_in`) when a
space says which parameters lead to it. A parameter exists only where it means something: a third stage's width only
where there are three stages, a mixup strength only with mixup.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from slimfront.spaces.candidate import Candidate
from slimfront.spaces.criteria import METHODS, NO_METHOD, Method
from slimfront.spaces.family import FAMILIES
from slimfront.spaces.methods import method_name, sparsity
from slimfront.spaces.optimizers import OPTIMIZERS
from slimfront.spaces.policies import NO_POLICY, POLICIES

Choose = Callable[[str, str], Any]
"""(key of the domain, name of the parameter) -> value"""


def walk(choose: Choose) -> dict[str, Any]:
    """Choose everything, in a fixed order; returns the candidate as nested dictionaries."""
    architecture = _architecture(choose)
    return {
        "architecture": architecture,
        "augmentation": _augmentation(choose),
        "pruning": {kind: _sparsity(choose, kind) for kind in ("filters", "weights")},
        "bits": _bits(choose, stages=len(architecture["widths"])),
        "recipe": _recipe(choose),
    }


def _architecture(choose: Choose) -> dict[str, Any]:
    family = choose("architecture.family", "family")
    member = FAMILIES[family]
    base = f"architecture.{member.name}."
    return {"family": family, **member.walk(lambda key: choose(base + key, f"{member.name}.{key}"))}


def _augmentation(choose: Choose) -> dict[str, Any]:
    result = {key: choose(f"augmentation.{key}", f"augmentation.{key}") for key in ("flip", "crop", "policy")}
    if result["policy"] != NO_POLICY:
        policy = POLICIES[result["policy"]].name
        result["strength"] = choose(f"augmentation.{policy}.strength", f"{policy}.strength")
    return result


def _sparsity(choose: Choose, kind: str) -> dict[str, Any] | None:
    method = choose(f"pruning.{kind}.method", f"pruning.{kind}.method")
    if method == NO_METHOD:
        return None
    ratio, epochs = (choose(f"pruning.{kind}.{key}", f"pruning.{kind}.{key}") for key in ("ratio", "epochs"))
    return dict(_sparsity_dict(method, METHODS[method], ratio, epochs))


@functools.lru_cache(maxsize=1024)
def _sparsity_dict(name: str, _method: Method, ratio: float, epochs: int) -> dict[str, Any]:
    return sparsity(name, ratio, epochs).to_dict()


def _bits(choose: Choose, stages: int) -> dict[str, Any]:
    per_stage = choose("bits.per_stage", "bits.per_stage")
    result: dict[str, Any] = {}
    for kind in ("weights", "activations"):
        names = [f"bits.{kind}.{i}" for i in range(stages)] if per_stage and stages else [f"bits.{kind}"]
        values = [choose(name, name) for name in names]
        result[kind] = values if len(set(values)) > 1 else values[:1]  # one spelling, one digest
    # Stem and classifier stay at least as wide as the rest, and are rounded only where the rest is.
    widest = max(result["weights"] + result["activations"])
    outer = widest if widest > 8 else max(choose("bits.edges", "bits.edges"), widest)
    result |= {"stem": outer, "classifier": outer}
    if widest < 32:
        result["epochs"] = choose("bits.epochs", "bits.epochs")
        result["path"] = [] if result["epochs"] == 0 else _falling(result["weights"])
    return result


def _falling(weights: list[int]) -> list[int]:
    """The widths to pass through on the way down to the lowest of `weights`: 8, 4, 3, 2 as far as they lie above."""
    return [width for width in (8, 4, 3, 2) if width > min(weights)] if min(weights) < 4 else []


def _recipe(choose: Choose) -> dict[str, Any]:
    result = {"optimizer": choose("recipe.optimizer", "optimizer")}
    optimizer = OPTIMIZERS[result["optimizer"]].name
    result["learning_rate"] = choose(f"recipe.{optimizer}.learning_rate", f"{optimizer}.learning_rate")
    for key in ("weight_decay", "momentum", "epochs", "batch_size", "warmup", "decay", "label_smoothing", "averaging"):
        result[key] = choose(f"recipe.{key}", key)
    result["distillation"] = choose("recipe.distillation", "distillation")
    if result["distillation"] > 0:
        result["teacher"] = choose("recipe.teacher", "teacher")
        result["temperature"] = choose("recipe.temperature", "temperature")
    starting = choose("recipe.starting_weights", "starting_weights")
    if starting:
        result["starting_weights"] = starting
    return result


def chosen_in(candidate: Candidate) -> Callable[[str], Any]:
    """The inverse of `walk`: gives the value that the walk would have had to choose for a key."""
    architecture, bits = candidate.architecture, candidate.bits

    def of_architecture(parts: list[str]) -> Any:
        if parts == ["family"]:
            return architecture.family
        key, *stage = parts[1:]
        return FAMILIES[architecture.family].chosen(architecture, key, int(stage[0]) if stage else None)

    def of_bits(parts: list[str]) -> Any:
        if parts[0] == "per_stage":
            return len(set(bits.weights)) > 1 or len(set(bits.activations)) > 1
        if parts[0] == "edges":
            return bits.stem
        if parts[0] == "epochs":
            return bits.epochs
        values = getattr(bits, parts[0])
        return values[int(parts[1]) % len(values)] if len(parts) > 1 else values[0]

    def source(key: str) -> Any:
        table, *parts = key.split(".")
        if table == "architecture":
            return of_architecture(parts)
        if table == "bits":
            return of_bits(parts)
        if table == "pruning":
            step = getattr(candidate.pruning, parts[0])
            if parts[1] == "method":
                return NO_METHOD if step is None else method_name(step)
            return getattr(step, parts[1])
        # "recipe.sgd.learning_rate" and "mixup.strength" carry their branch in the middle.
        value = getattr(getattr(candidate, table), parts[-1])
        return "" if key == "recipe.teacher" and value is None else value

    return source
