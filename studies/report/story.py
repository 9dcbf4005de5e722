"""What report and slides tell: everything about a study, gathered once. Reading only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.spaces import Candidate
from slimfront.studies.analysis.spending import Ending, endings
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign import values
from slimfront.studies.foreign.files import read_small
from slimfront.studies.foreign.text import visible
from slimfront.studies.front import front, hypervolume, nearest
from slimfront.studies.record import TrialRecord, is_scored
from slimfront.studies.store.identity import bar_of
from slimfront.studies.store.records import StudyRecord
from slimfront.studies.store.storage import safe_url

LARGEST_SUMMARY = 64 * 2**20  # bytes
# (training, validation, test) images of the sets that come with the project
SPLITS = {
    "digits": (997, 300, 500),
    "cifar10": (45_000, 5_000, 10_000),
    "cifar100": (45_000, 5_000, 10_000),
    "fashion-mnist": (54_000, 6_000, 10_000),
}


@dataclass(frozen=True)
class Network:
    """A trial that is shown, whose candidate, accuracy and cost are known."""

    trial: TrialRecord
    candidate: Candidate

    @property
    def accuracy(self) -> float:
        """Share of the validation images."""
        return self.trial.point[0]

    @property
    def cost(self) -> float:
        """What the study keeps low."""
        return self.trial.point[1]

    @property
    def score(self) -> float | None:
        """By the formula."""
        return self.trial.score

    @property
    def layers(self) -> list[Mapping[str, Any]]:
        """The score's table; empty where it was not kept as a whole."""
        return list(self.trial.layers) if all(map(is_scored, self.trial.layers)) else []


@dataclass(frozen=True)
class Story:
    """A study as report and slides tell it.

    Attributes:
        name: Of the study.
        storage: Its URL, without passwords.
        bar: Accuracy that the front demands.
        dataset: Name of the data set; "" where nobody noted it.
        data_digest: Of data and split.
        split: (training, validation, test) images; None where they are not known.
        space: The space as it was written.
        seed: Of the search.
        trials: All of them.
        axis: What it keeps low, in words.
        bounds: On costs, by name.
        cloud: See StudyRecord.
        front: Its networks by ascending cost.
        nearest: The most accurate ones, where the front is empty.
        hypervolume: Of the front.
        endings: What was spent, by how trials ended.
        seconds: That searches worked on the study.
        environment: Versions, machine and commit of the newest record.
        retrained: Networks of retraining summaries that belong to this study.
        rank_correlation: Of validation and test accuracy over the retrained networks.
        test_evaluations: How often the test set was read for them.
        commands: That retrained them, as they were typed.
    """

    name: str
    storage: str
    bar: float
    dataset: str
    data_digest: str
    split: tuple[int, int, int] | None
    space: Mapping[str, Any]
    seed: int | None
    trials: tuple[TrialRecord, ...]
    axis: CostAxis
    bounds: Mapping[str, float]
    front: tuple[Network, ...]
    nearest: tuple[Network, ...]
    hypervolume: float
    endings: tuple[Ending, ...]
    seconds: float
    environment: Mapping[str, str]
    retrained: tuple[Mapping[str, Any], ...] = ()
    rank_correlation: float | None = None
    test_evaluations: int = 0
    commands: tuple[str, ...] = ()
    cloud: tuple[tuple[float, float], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Network | None:
        """The cheapest network on the front; without a front the most accurate one."""
        return next(iter(self.front or self.nearest), None)

    @property
    def epochs(self) -> int:
        """Trained in all."""
        return sum(ending.epochs for ending in self.endings)

    @property
    def place(self) -> str:
        """`--storage URL --name NAME` for commands."""
        return f"--storage {shlex.quote(visible(self.storage))} --name {shlex.quote(visible(self.name))}"


def gather(study: StudyRecord, bar: float | None = None, summaries: Sequence[Path] = ()) -> Story:
    """Everything that there is to tell about a study.

    Args:
        study: The study.
        bar: Instead of its own.
        summaries: `summary.json` files of retraining; networks of other studies in them are left out.

    Raises:
        StudyError: A summary that was named cannot be read.
    """
    identity = study.identity
    bar = bar_of(study.name, study.identity, bar)
    trials = study.trials
    own = [trial for trial in trials if trial.candidate_dict is not None]
    newest = own[-1] if own else None
    dataset = str(identity.get("dataset") or (newest.dataset if newest else ""))
    retrained, correlation, commands = _retrained(summaries, {trial.digest for trial in own if trial.digest})
    found = front(trials, bar)
    return Story(
        name=study.name,
        storage=study.storage,
        bar=bar,
        dataset=dataset,
        data_digest=str(identity.get("data") or (newest.data_digest if newest else "")),
        split=SPLITS.get(dataset),
        space=identity.get("space") or {},
        seed=identity.get("seed"),
        trials=trials,
        axis=study.cost,
        cloud=study.cloud,
        bounds=identity.get("max") or {},
        front=_networks(found),
        nearest=() if found else _networks(nearest(trials)),
        hypervolume=hypervolume(found, bar, study.cost.corner),
        endings=tuple(endings(trials)),
        seconds=study.seconds,
        environment=newest.details.environment if newest else {},
        retrained=retrained,
        rank_correlation=correlation,
        test_evaluations=sum(int(network.get("test_evaluations") or 0) for network in retrained),
        commands=commands,
    )


def _networks(trials: Iterable[TrialRecord]) -> tuple[Network, ...]:
    return tuple(Network(trial, trial.candidate) for trial in trials if trial.candidate is not None)


def _retrained(
    summaries: Sequence[Path], digests: set[str]
) -> tuple[tuple[Mapping[str, Any], ...], float | None, tuple[str, ...]]:
    """The networks of `digests`, each as its newest summary has it; their rank correlation; who retrained them."""
    found: dict[str, Mapping[str, Any]] = {}
    commands: dict[str, str] = {}
    correlation = None
    for path in summaries:
        summary = read_summary(path)
        own = [network for network in summary["networks"] if network.get("digest") in digests]
        trained = {str(network["digest"]): network for network in own if network.get("accuracies")}
        found |= trained
        commands |= dict.fromkeys(trained, _own_command(summary.get("command")))
        if len(own) >= 3 and isinstance(summary.get("rank_correlation"), float):
            correlation = values.number(summary["rank_correlation"], -1, 1)
    networks = tuple(sorted(found.values(), key=lambda network: network.get("cost") or network.get("score") or 0.0))
    return networks, correlation, tuple(command for command in dict.fromkeys(commands.values()) if command)


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


def _accuracies(value: Any) -> list[float] | None:
    shares = [values.share(entry) for entry in value] if isinstance(value, list) else [None]
    return [entry for entry in shares if entry is not None] if None not in shares else None


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


def space_rows(space: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, what it may be) of every entry of the space, in its order."""
    rows: list[tuple[str, str]] = []
    for key, value in space.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            rows += space_rows(value, f"{name}.")
        else:
            rows.append((name, _domain(value)))
    return rows


def _domain(value: Any) -> str:
    if isinstance(value, Mapping):
        step = f", steps of {_plain(value['step'])}" if "step" in value else ""
        return f"{_plain(value['low'])} to {_plain(value['high'])}" + (", log scale" if value.get("log") else "") + step
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{_plain(value)} (fixed)"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
