"""Tables and sentences that report and slides share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slimfront.evaluators.scoring.cost import COSTS, CostAxis, in_figures
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.report import methods_used
from slimfront.studies.report.page import Markup, decimals, element, join, number, percent_number, table
from slimfront.studies.report.story import Network, Story

PICTURES = "Of every picture the middle square, resized; what lies outside of it was cut off."  # of a folder
VERDICT_CLASSES = {"clears the bar": "clears", "misses it": "misses"}


def front_table(networks: Sequence[Network], axis: CostAxis = SCORE_AXIS, *, long: bool = True) -> Markup:
    """Networks by ascending cost: accuracy, cost and score with its parts, those recorded besides, size and bits."""
    tables = [network.trial.totals for network in networks]
    places = decimals([network.score for network in networks], 4)
    own = [] if axis == SCORE_AXIS else [axis.head]
    there = {axis.name, *(key for totals in tables for key in totals)}
    beside = list(dict.fromkeys(name for network in networks for name in network.trial.costs if name not in there))
    head = ["trial", "accuracy\u00a0(%)", *own, "score", "params term", "ops term", "strict score"]
    head += beside if long else []
    words = (0, len(head) + 2) if long else (0, len(head), len(head) + 1)
    head += ["weights", "multiply-adds", "bits"] if long else ["network", "bits"]
    rows = []
    for network, totals in zip(networks, tables, strict=True):
        row = [str(network.trial.number), percent_number(network.accuracy)]
        row += [*([in_figures(network.cost)] if own else []), number(network.score, places)]
        row += [number(totals.get(key), places) for key in ("score_params", "score_ops", "strict_score")]
        if long:
            row += [_figures(network.trial.costs.get(name)) for name in beside]
            row += [_count(totals.get("stored_weights", totals.get("weights"))), _count(totals.get("macs"))]
        else:
            row += [methods_used.shape(network.candidate)]
        rows.append([*row, methods_used.bits(network.candidate)])
    return table(head, rows, words=words)


def _figures(value: float | None) -> str:
    return "–" if value is None else in_figures(value)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def choices_table(networks: Sequence[Network]) -> Markup:
    """What each network of the front is and how it was trained and compressed."""
    head = ("trial", "network", "training", "augmentation", "pruning", "bits")
    rows = [
        (
            str(network.trial.number),
            methods_used.shape(network.candidate),
            methods_used.training(network.candidate),
            methods_used.augmentation(network.candidate),
            methods_used.pruning(network.candidate),
            methods_used.bits(network.candidate),
        )
        for network in networks
    ]
    return table(head, rows, words=range(6))


def methods_table(networks: Sequence[Network]) -> Markup:
    """The methods that these networks use, with their papers."""
    rows = methods_used.used(network.candidate for network in networks)
    return table(("phase", "method", "in a few words", "source"), rows, words=(0, 1, 2, 3))


def spending_table(story: Story) -> Markup:
    """Trials, epochs and time, by how trials ended."""
    rows = [
        (ending.text, f"{ending.trials:,}", f"{ending.epochs:,}", f"{ending.planned:,}", f"{ending.seconds / 3600:.2f}")
        for ending in story.endings
    ]
    sums = [sum(values) for values in zip(*((e.trials, e.epochs, e.planned) for e in story.endings), strict=True)]
    hours = sum(ending.seconds for ending in story.endings) / 3600
    head = ("how they ended", "trials", "epochs trained", "epochs to their end", "training (hours)")
    return table(head, rows, foot=("all", *(f"{value:,}" for value in sums), f"{hours:.2f}"))


def retrained_table(networks: Sequence[Mapping[str, Any]], axis: CostAxis = SCORE_AXIS) -> Markup:
    """Final numbers: test accuracy over the seeds, the confidence limit, the verdict."""
    places = decimals([network.get("score") for network in networks], 4)
    own = [] if axis == SCORE_AXIS else [axis.head]
    head = (
        "network",
        "seeds",
        "test accuracy ± std (%)",
        "lower 95\u00a0% limit\u00a0(%)",
        *own,
        "score",
        "gap (points)",
        "verdict",
    )
    rows = []
    for network in networks:
        words = str(network.get("verdict") or "")
        trial = network.get("trial")
        rows.append(
            (
                f"trial {trial}" if trial is not None else str(network.get("digest"))[:8],
                str(len(network.get("accuracies") or ())),
                _with_deviation(network),
                percent_number(_float(network, "lower")),
                *(_figures(_float(network, "cost")) for _ in own),
                number(_float(network, "score"), places),
                "–" if network.get("gap") is None else f"{100 * float(network['gap']):+.2f}".replace("-", "−"),
                element("span", words, class_=VERDICT_CLASSES.get(words, "")),
            )
        )
    return table(head, rows, words=(0, len(head) - 1))


def _float(network: Mapping[str, Any], key: str) -> float | None:
    value = network.get(key)
    return float(value) if isinstance(value, int | float) else None


def _with_deviation(network: Mapping[str, Any]) -> str:
    """ "97.13 ± 1.10"."""
    deviation = _float(network, "std")
    told = "" if deviation is None else f" ± {100 * deviation:.2f}"
    return percent_number(_float(network, "mean")) + told


def meaning(score: float) -> str:
    """What a score means, in a sentence."""
    times = 1.99 / score
    shown = f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
    return (
        f"A score of 1.99 is ResNet-18 in half precision: one for its weights, one for its operations. "
        f"A score of {score:.3g} is {shown} times cheaper."
    )


def of_cost(axis: CostAxis) -> str:
    """What a cost is, in a sentence; nothing of the score, which the formula says."""
    cost = COSTS.find(axis.name)
    words = f": {cost.words}" if cost is not None else ""
    return f"{axis.title[:1].upper()}{axis.title[1:]}{words}."


def bounds_told(bounds: Mapping[str, float]) -> str:
    """The study's bounds in a sentence; "" where it has none."""
    told = "; ".join(f"{name} at most {in_figures(limit)}" for name, limit in bounds.items())
    return f"Bounds that a network on the front keeps to: {told}." if told else ""


def key_figures(rows: Sequence[tuple[str, str]]) -> Markup:
    """A few large numbers."""
    return element("dl", *(element("div", element("dt", n), element("dd", v)) for n, v in rows), class_="figures")


def duration(seconds: float) -> str:
    """ "3.2 hours", "14 minutes" or "48 seconds"."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def sentence_of_split(story: Story) -> str:
    """How many images each part of the data has."""
    if story.split is None:
        return "How many images each part has is not in the record."
    train, validation, test = story.split
    return (
        f"{train:,} images to train on, {validation:,} to judge trials by (a fixed, stratified part of the training "
        f"images), and {test:,} test images, which the search never opens."
    )


def commands(lines: Sequence[str]) -> Markup:
    """Shell commands as a block."""
    return element("pre", element("code", join(lines, "\n")))
