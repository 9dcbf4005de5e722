"""What is retrained: a trial, a whole front or a candidate from a file, for how many epochs, with how many seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.cost import check as check_cost
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.evaluators.supernet.supernet import find_supernet, kept_supernet
from slimfront.search.retrain.job import SUMMARY, RetrainError, lengthened
from slimfront.spaces import Candidate, references
from slimfront.studies.errors import StudyError
from slimfront.studies.store.identity import bar_of, costs_in

if TYPE_CHECKING:
    from slimfront.studies.record import TrialRecord
    from slimfront.studies.store.records import StudyRecord

FINAL = Path("runs") / "final"  # folder of retrainings
LONGER = 3  # times the search's epochs, where none are asked for


@dataclass(frozen=True)
class Choice:
    """A network that was chosen for retraining.

    Attributes:
        candidate: As the search knew it; its digest names the network from here on.
        trial: Its number in the study; None: it is from a file.
        accuracy: Validation accuracy in the search, as far as known.
        code: Hash of the source of each reference to a user's own code, as the search knew it.
        supernet: Digest of the supernet that its weights were cut out of in the search; "": of none.
    """

    candidate: Candidate
    trial: int | None = None
    accuracy: float | None = None
    code: Mapping[str, Any] = field(default_factory=dict)
    supernet: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"trial {self.trial}" if self.trial is not None else self.candidate.digest[:8]


@dataclass(frozen=True)
class Plan:
    """What is retrained, and how.

    Attributes:
        choices: The networks.
        dataset: Name of the data set.
        image_size: Side of an image folder's pictures.
        bar: Accuracy to clear.
        seeds: How many, from 0 on.
        epochs: Of the training before compression; None: LONGER times the candidate's.
        study: Name of the study that the networks come from.
        data_digest: Of the images that an image folder has to hold; None: whatever it holds.
        axis: What the study kept low, in words.
        costs: That are measured on every network besides the score, by name.
        inherit: Whether each starts from the weights that the search started from, instead of from scratch.
        weights: Files of starting weights, by what recipes call them.
    """

    choices: tuple[Choice, ...]
    dataset: str
    image_size: int | None = None
    bar: float = 0.9
    seeds: int = 5
    epochs: int | None = None
    study: str | None = None
    data_digest: str | None = None
    axis: CostAxis = SCORE_AXIS
    costs: tuple[str, ...] = ()
    inherit: bool = False
    weights: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise RetrainError(f"--seeds must be 1 or more, but got {self.seeds}.")
        if self.epochs is not None and not 1 <= self.epochs <= 10_000:
            raise RetrainError(f"--epochs must be in 1..10000, but got {self.epochs}.")
        if not 0 < self.bar <= 1:
            raise RetrainError(f"--bar must be a share in (0, 1], such as 0.9, but got {self.bar}.")
        if not self.choices:
            raise RetrainError("There is nothing to retrain.")
        for choice in self.choices if self.inherit else ():
            _check_supernet(choice)

    def trained(self, choice: Choice) -> Candidate:
        """The candidate with the schedule that it is retrained with."""
        own = choice.candidate.recipe.epochs
        return lengthened(choice.candidate, self.epochs if self.epochs is not None else min(LONGER * own, 10_000))

    def supernet(self, choice: Choice) -> Path | None:
        """File of the supernet that the network starts from; None: it starts from scratch."""
        return kept_supernet(choice.supernet) if self.inherit else None


def _check_supernet(choice: Choice) -> None:
    """Raise RetrainError where a network has no weights to inherit."""
    if not choice.supernet:
        raise RetrainError(f"{choice.name} did not start from a supernet in the search: leave out --inherit.")
    try:
        path = kept_supernet(choice.supernet)
    except ValueError as error:  # from a study of somebody else's
        raise RetrainError(f"{choice.name} cannot be started from its supernet: {error}") from None
    if find_supernet(path) is None:
        raise RetrainError(
            f"{choice.name} started from the supernet {choice.supernet}, which is not in {path.parent}: "
            "the search trains it again, or leave out --inherit."
        )


def choose(storage: str, name: str | None, trial: str | None) -> tuple[list[Choice], StudyRecord, str]:
    """The chosen trial of a study, by number or digest, or its whole front where `trial` is None.

    Returns the choices, the study, and its name as that of a folder.

    Raises StudyError where there is no such trial, or nothing on the front.
    """
    from slimfront.studies.analysis.finding import find_trial
    from slimfront.studies.front import front
    from slimfront.studies.store.names import own_file_name
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.study import find_study, snapshot

    opened = open_for_reading(storage)
    study = snapshot(find_study(opened, name))
    if trial is None:
        wanted = front(study.trials, study.bar)
        if not wanted:
            raise StudyError(f"No trial of {study.name} is on the front yet; choose one with --trial.")
    else:
        wanted = [find_trial(study, trial)]
    return [_choice(found, study.name) for found in wanted], study, own_file_name(study.name, opened)


def _choice(trial: TrialRecord, study: str) -> Choice:
    """A trial as a choice; its accuracy where it was trained to its end."""
    from slimfront.studies.record import State

    if trial.candidate is not None:
        accuracy = trial.accuracy if trial.state is State.COMPLETE else None
        supernet = str(trial.inherited.get("supernet", ""))
        return Choice(trial.candidate, trial.number, accuracy, trial.code, supernet)
    shown = f"Trial {trial.number} of {study}"
    if trial.state is State.FAILED:
        why = trial.why if trial.reason else "it ended before its network was known"
        text = f" ({trial.text})" if trial.text else ""
        raise StudyError(f"{shown} has failed and cannot be retrained: {why}{text}.")
    raise StudyError(f"{shown} has no record that this version can read.")


def _check_code(choice: Choice, costs: tuple[str, ...], accepted: bool) -> None:
    """Everything of a user's own that the network and its costs need was given, and is what the search knew.

    Raises:
        CodeReferenceError: Something was not given.
        RetrainError: Its source has changed, and that is not accepted.
    """
    from slimfront.search.own_code import FLAG, changed

    written = [choice.candidate.to_dict(), list(costs)]
    references.check_given(written)
    found = changed(choice.code, references.sources(written))
    if found and not accepted:
        raise RetrainError(
            f"{', '.join(found)} has changed since {choice.name} was trained; {FLAG} takes it as it is now."
        )


def _begun_with(choices: list[Choice], weights: Path | None) -> tuple[list[Choice], dict[str, Path]]:
    """The choices as they begin with the weights of a file, and where these lie, by what recipes call them.

    Raises:
        RetrainError: They are trials that began with fresh weights: with others they are other networks.
        StartingWeightsError: One needs weights that were not given.
    """
    from slimfront.evaluators.starting import begun_with

    begun = []
    for choice in choices:
        fresh = choice.trial is not None and not choice.candidate.recipe.starting_weights
        candidate = begun_with(choice.candidate, None if fresh else weights, choice.name)
        begun.append(replace(choice, candidate=candidate))
    named = {choice.candidate.recipe.starting_weights for choice in begun} - {""}
    if weights is not None and not named:
        raise RetrainError(f"{begun[0].name} began with fresh weights in the search: leave out --weights.")
    return begun, {} if weights is None else dict.fromkeys(named, weights)


def make_plan(
    storage: str,
    name: str | None,
    chosen: Mapping[str, Any],
    *,
    dataset: str | None,
    bar: float | None,
    seeds: int,
    epochs: int | None,
    out: Path | None = None,
) -> tuple[Plan, Path]:
    """The plan that a command line asks for, and its folder: `out`, or one that is named by what is retrained.

    `chosen` has trial, front, candidate, arguments, weights, inherit and changed_code as on the command line. A
    candidate that is named by its digest is the trial's.

    Raises:
        CodeReferenceError: A network needs code of the user's own that was not given.
        RetrainError: It is not exactly one of --trial, --front and --candidate, or that code has changed.
        StartingWeightsError: A network begins with weights that were not given.
        OutputError: The results would overwrite what is read.
    """
    trial, front, candidate = chosen["trial"], chosen["front"], chosen["candidate"]
    from slimfront.search.commands.scoring import candidate_file, is_of_a_trial, read_candidate
    from slimfront.studies.store.storage import storage_files

    if (trial is not None) + front + (candidate is not None) != 1:
        raise RetrainError("Say what to retrain: exactly one of --trial N, --front and --candidate FILE.")
    if candidate is not None and is_of_a_trial(candidate):
        trial, candidate = candidate, None
    identity: Mapping[str, Any] = {}
    study = None
    if candidate is not None:
        given = [Choice(read_candidate(candidate, arguments=chosen.get("arguments", ())))]
        choices, weights = _begun_with(given, chosen.get("weights"))
        folder = out or FINAL / choices[0].candidate.digest
    else:
        if chosen.get("arguments"):
            raise RetrainError("--arg is for a network's class, --candidate FILE.py:NAME.")
        given, study, named = choose(storage, name, trial)
        choices, weights = _begun_with(given, chosen.get("weights"))
        identity = study.identity
        folder = out or FINAL / (named + ("-front" if front else f"-trial-{choices[0].trial}"))
    costs = costs_in(identity)
    for choice in choices:
        _check_code(choice, costs, chosen.get("changed_code", False))
    for cost in costs:
        check_cost(cost)
    own = str(identity.get("dataset", "cifar10"))
    plan = Plan(
        tuple(choices),
        dataset=own if dataset is None else dataset,
        image_size=identity.get("image_size") if dataset in (None, identity.get("dataset")) else None,
        bar=bar_of(str(study and study.name), identity) if bar is None else bar,
        seeds=seeds,
        epochs=epochs,
        study=None if study is None else study.name,
        # A study from elsewhere may name any folder of this machine.
        data_digest=str(identity.get("data")) if dataset is None and own.startswith("folder:") else None,
        axis=SCORE_AXIS if study is None else study.cost,
        costs=costs,
        inherit=chosen.get("inherit", False),
        weights=weights,
    )
    inputs = {"the candidate": candidate_file(candidate), "the weights": chosen.get("weights")}
    inputs |= {} if study is None else storage_files(storage)
    outputs.check_outside_data("--out", folder, plan.dataset)
    outputs.check_folder("--out", folder, [SUMMARY], inputs)
    return plan, folder
