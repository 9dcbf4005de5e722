"""What retraining found for the networks of a study, from the summaries that it left."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.foreign.files import read_small
from slimfront.studies.store.storage import safe_url

LARGEST_SUMMARY = 64 * 2**20  # bytes


@dataclass(frozen=True)
class Retrained:
    """A network that was retrained; None where its summary does not say.

    Attributes:
        digest: Of its candidate.
        accuracies: Shares of the test images, one a seed.
        trial: Of the search.
        mean: Of the accuracies.
        std: Their standard deviation.
        lower: The lower limit of the mean's 95 % confidence interval.
        score: Of the retrained network.
        cost: What the study keeps low, of the retrained network.
        gap: Validation accuracy in the search minus mean test accuracy.
        verdict: Whether it clears the bar, in words.
        test_evaluations: How often the test images were read for it.
    """

    digest: str
    accuracies: tuple[float, ...]
    trial: int | None = None
    mean: float | None = None
    std: float | None = None
    lower: float | None = None
    score: float | None = None
    cost: float | None = None
    gap: float | None = None
    verdict: str = ""
    test_evaluations: int | None = None

    @property
    def name(self) -> str:
        """By its trial, or else by the beginning of its digest."""
        return self.digest[:8] if self.trial is None else f"trial {self.trial}"


@dataclass(frozen=True)
class FinalNumbers:
    """Networks by ascending cost; rank correlation of their validation and test accuracy; who retrained them."""

    networks: tuple[Retrained, ...]
    rank_correlation: float | None
    commands: tuple[str, ...]


def final_numbers(summaries: Sequence[Path], digests: set[str]) -> FinalNumbers:
    """The networks of `digests`, each as its newest summary has it. Raises StudyError where a summary is none."""
    found: dict[str, Retrained] = {}
    commands: dict[str, str] = {}
    correlation = None
    for path in summaries:
        summary = read_summary(path)
        own = [network for network in summary["networks"] if network.get("digest") in digests]
        trained = {network["digest"]: Retrained(**network) for network in own if network.get("accuracies")}
        found |= trained
        commands |= dict.fromkeys(trained, _own_command(summary.get("command")))
        if len(own) >= 3 and isinstance(summary.get("rank_correlation"), float):
            correlation = values.number(summary["rank_correlation"], -1, 1)
    networks = tuple(sorted(found.values(), key=lambda network: network.cost or network.score or 0.0))
    return FinalNumbers(networks, correlation, tuple(filter(None, dict.fromkeys(commands.values()))))


def _own_command(command: Any) -> str:
    """As it was typed, without passwords, which an older version noted; "" for what is no command line of slimfront.

    Readers of a page copy what stands under "How to reproduce" into a shell.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) and command.isprintable() else []
    except ValueError:
        return ""
    program = words[:2] if words[:1] == ["python"] else words[:1]
    return shlex.join(map(safe_url, words)) if program in (["python", "run_search.py"], ["slimfront"]) else ""


def read_summary(path: Path) -> dict[str, Any]:
    """A retraining's `summary.json`. Raises StudyError where it is none."""
    try:
        summary = json.loads(read_small(path, LARGEST_SUMMARY))
    except OSError as error:
        raise StudyError(f"The summary {path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise StudyError(f"{path} is not a summary of retraining: it is not JSON.") from None
    networks = summary.get("networks") if isinstance(summary, dict) else None
    if not isinstance(networks, list) or not all(isinstance(network, dict) for network in networks):
        raise StudyError(f"{path} is not a summary of retraining: it lists no networks.")
    return {**summary, "networks": [values.entries(network, _RETRAINED) for network in networks]}


def _accuracies(value: Any) -> tuple[float, ...] | None:
    shares = [values.share(entry) for entry in value] if isinstance(value, list) else [None]
    return tuple(entry for entry in shares if entry is not None) if None not in shares else None


_RETRAINED: Mapping[str, values.Reader] = {
    **dict.fromkeys(("digest", "verdict"), values.text),
    **dict.fromkeys(("trial", "test_evaluations"), values.whole),
    **dict.fromkeys(("mean", "std"), values.share),
    **dict.fromkeys(("lower", "gap"), values.number),
    "accuracies": _accuracies,
    "score": values.total,
    "cost": values.cost,
}
"""Of a retrained network, what is told, and how it is read."""


def find_summaries(folder: Path = Path("runs") / "final") -> list[Path]:
    """Summaries that `retrain` left in its usual place, oldest first; those that cannot be read are left out."""
    found = []
    for path in folder.glob("*/summary.json"):
        try:
            read_summary(path)
        except StudyError:
            continue
        found.append(path)
    return sorted(found, key=lambda path: path.stat().st_mtime)
