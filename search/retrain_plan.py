"""What is retrained: a trial, a whole front or a candidate from a file, for how many epochs, with how many seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators import outputs
from search.final_job import SUMMARY, RetrainError, lengthened
from spaces import Candidate
from studies.errors import StudyError

if TYPE_CHECKING:
    from optuna.study import Study

FINAL = Path("runs") / "final"  # folder of retrainings
LONGER = 3  # times the search's epochs, where none are asked for


@dataclass(frozen=True)
class Choice:
    """A network that was chosen for retraining.

    Attributes:
        candidate: As the search knew it; its digest names the network from here on.
        trial: Its number in the study; None: it is from a file.
        accuracy: Validation accuracy in the search, as far as known.
    """

    candidate: Candidate
    trial: int | None = None
    accuracy: float | None = None

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
        epochs: Of dense training; None: LONGER times the candidate's.
        study: Name of the study that the networks come from.
    """

    choices: tuple[Choice, ...]
    dataset: str
    image_size: int | None = None
    bar: float = 0.9
    seeds: int = 5
    epochs: int | None = None
    study: str | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise RetrainError(f"--seeds must be 1 or more, but got {self.seeds}.")
        if self.epochs is not None and not 1 <= self.epochs <= 10_000:
            raise RetrainError(f"--epochs must be in 1..10000, but got {self.epochs}.")
        if not 0 < self.bar <= 1:
            raise RetrainError(f"--bar must be a share in (0, 1], such as 0.9, but got {self.bar}.")
        if not self.choices:
            raise RetrainError("There is nothing to retrain.")

    def trained(self, choice: Choice) -> Candidate:
        """The candidate with the schedule that it is retrained with."""
        own = choice.candidate.recipe.epochs
        return lengthened(choice.candidate, self.epochs if self.epochs is not None else min(LONGER * own, 10_000))


def choose(storage: str, name: str | None, trial: int | None) -> tuple[list[Choice], dict[str, Any], Study]:
    """The chosen trial of a study, or its whole front where `trial` is None; the study's identity, and the study.

    Raises StudyError where there is no such trial, or nothing on the front.
    """
    from optuna.trial import TrialState

    from studies.front import front
    from studies.read_only import open_for_reading
    from studies.record import REASONS, read
    from studies.storage import load_study

    study = load_study(open_for_reading(storage), name)
    trials = study.get_trials(deepcopy=False)
    identity = study.user_attrs.get("identity", {})
    if trial is None:
        wanted = front(trials, float(identity.get("bar", 0.9)))
        if not wanted:
            raise StudyError(f"No trial of {study.study_name} is on the front yet; choose one with --trial.")
    else:
        wanted = [found for found in trials if found.number == trial]
        if not wanted:
            raise StudyError(f"Study {study.study_name} has no trial {trial}, only 0 to {len(trials) - 1}.")
    choices = []
    for frozen in wanted:
        record = read(frozen)
        shown = f"Trial {frozen.number} of {study.study_name}"
        if record is None and frozen.state == TrialState.FAIL:
            reason = str(frozen.user_attrs.get("reason"))
            why = REASONS.get(reason, "it ended before its network was known")
            text = f" ({frozen.user_attrs['text']})" if frozen.user_attrs.get("text") else ""
            raise StudyError(f"{shown} has failed and cannot be retrained: {why}{text}.")
        if record is None:
            raise StudyError(f"{shown} has no record that this version can read.")
        accuracy = float(frozen.values[0]) if frozen.values else None
        choices.append(Choice(record.candidate, frozen.number, accuracy))
    return choices, dict(identity), study


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

    `chosen` has trial, front and candidate as they stand on the command line.

    Raises:
        RetrainError: It is not exactly one of --trial, --front and --candidate.
        OutputError: The results would overwrite what is read.
    """
    trial, front, candidate = chosen["trial"], chosen["front"], chosen["candidate"]
    if (trial is not None) + front + (candidate is not None) != 1:
        raise RetrainError("Say what to retrain: exactly one of --trial N, --front and --candidate FILE.")
    from search.show import candidate_file, read_candidate
    from studies.storage import storage_files

    identity: dict[str, Any] = {}
    study = None
    if candidate is not None:
        choices = [Choice(read_candidate(candidate))]
        folder = out or FINAL / choices[0].candidate.digest
    else:
        from studies.names import own_file_name

        choices, identity, found = choose(storage, name, trial)
        study = found.study_name
        folder = out or FINAL / (own_file_name(study, found._storage) + ("-front" if front else f"-trial-{trial}"))
    plan = Plan(
        tuple(choices),
        dataset=dataset or str(identity.get("dataset", "cifar10")),
        image_size=identity.get("image_size") if dataset in (None, identity.get("dataset")) else None,
        bar=bar if bar is not None else float(identity.get("bar", 0.9)),
        seeds=seeds,
        epochs=epochs,
        study=study,
    )
    inputs = {"the candidate": candidate_file(candidate), **({} if study is None else storage_files(storage))}
    outputs.check_outside_data("--out", folder, plan.dataset)
    outputs.check_folder("--out", folder, [SUMMARY], inputs)
    return plan, folder
