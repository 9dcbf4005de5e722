"""Searches, their fronts and retrainings from Python; imported from `slimfront` itself.

>>> from slimfront import front, run                                        # doctest: +SKIP
>>> found = run("studies/quick.toml", hours=0.1)                            # doctest: +SKIP
>>> [(network.trial, network.accuracy, network.score) for network in found] # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slimfront.search.launch import Options, launch
from slimfront.search.retrain.plan import make_plan
from slimfront.search.retrain.run import retrain as run_retraining
from slimfront.spaces import Candidate
from slimfront.studies.analysis.summary import summary
from slimfront.studies.settings import Settings
from slimfront.studies.store.identity import bar_of
from slimfront.studies.store.read_only import open_for_reading
from slimfront.studies.store.study import find_study, snapshot

DEFAULT_STORAGE = "sqlite:///slimfront.db"
AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Found:
    """A network of a study.

    Attributes:
        trial: Number of the trial.
        digest: Of its candidate.
        network: What it is, in a few words.
        accuracy: Share of the validation images.
        score: By the formula.
        cost: What the study keeps low: the score, unless it says otherwise.
        strict_score: With everything that is stored; None where it is not known.
        candidate: All that was decided; None where this version cannot read it.
    """

    trial: int
    digest: str | None
    network: str | None
    accuracy: float
    score: float | None
    cost: float
    strict_score: float | None
    candidate: Candidate | None


@dataclass(frozen=True)
class Front:
    """The front of a study; a sequence of its networks, the cheapest first.

    Attributes:
        study: Name of the study.
        storage: Its URL, without a password.
        bar: Accuracy that the front demands.
        networks: On the front.
        nearest: Where that is empty, the most accurate networks.
        trials: Their number by state.
        hypervolume: What the front is worth, in points of accuracy above the bar times powers of ten of the cost.
        how: How a search ended: "done", "interrupted" or "failures"; "" where it was only read.
        files: Where a search left its plot, its table and its database.
    """

    study: str
    storage: str
    bar: float
    networks: tuple[Found, ...]
    nearest: tuple[Found, ...]
    trials: Mapping[str, int]
    hypervolume: float
    how: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[Found]:
        return iter(self.networks)

    def __getitem__(self, index: int) -> Found:
        return self.networks[index]


def run(
    study: AnyPath | Mapping[str, Any],
    *,
    hours: float | None = None,
    trials: int | None = None,
    storage: str = DEFAULT_STORAGE,
    name: str | None = None,
    workers: int = 0,
    dataset: str | None = None,
    data_dir: AnyPath | None = None,
    seed: int | None = None,
    device: str = "auto",
    out: AnyPath | None = None,
    wait: bool = False,
    tensorboard: AnyPath | None = None,
) -> Front:
    """Run or resume a search, as the command `search`; progress is shown on standard error.

    Args:
        study: A study file, or its tables as a mapping, as TOML gives them.
        hours: Of the whole study, across restarts; None: as the study says.
        trials: Of the whole study; with neither, it goes on until it is interrupted.
        storage: Where the study lies: sqlite:///FILE or postgresql://USER@HOST/NAME.
        name: Of the study in its storage; None: as it says itself.
        workers: Trainings side by side; 0: one for each core or GPU. With more than one a script needs
            `if __name__ == "__main__":` around what it does, since workers import it.
        dataset: Instead of the study's.
        data_dir: Where the data set's files are looked for first.
        seed: Instead of the study's.
        device: "auto", "cpu" or "cuda".
        out: Folder of the results; None: runs/NAME.
        wait: Where another search is using the storage's file, wait for its end.
        tensorboard: Folder of event files for TensorBoard; None: none are written.

    Returns:
        The front, however the search ended: see `Front.how`. A first Ctrl-C ends it with the running epochs.

    Raises:
        SettingsError, StudyError, DataError, OutputError: Something is wrong that the user can mend: each is a
            ValueError whose text says what.
        SecondRunError: The script has no such guard.
    """
    path = None if isinstance(study, Mapping) else Path(study)
    settings = Settings.from_dict(study, "study") if isinstance(study, Mapping) else Settings.from_toml(Path(study))
    settings = settings.changed(name=name, trials=trials, hours=hours, dataset=dataset, seed=seed)
    options = Options(
        storage,
        workers,
        None if data_dir is None else Path(data_dir),
        device,
        out=None if out is None else Path(out),
        settings=path,
        wait=wait,
        tensorboard=None if tensorboard is None else Path(tensorboard),
    )
    outcome, told, files = launch(settings, options)
    return _front(told, outcome.how, files)


def front(storage: str = DEFAULT_STORAGE, name: str | None = None, *, bar: float | None = None) -> Front:
    """The front of a study as it stands, also while a search is running; changes nothing.

    Args:
        storage: Where the study lies.
        name: Of the study; may be left out where there is only one.
        bar: Accuracy that the front demands, a share; None: the study's.

    Raises:
        StudyError: There is no such study.
    """
    study = snapshot(find_study(open_for_reading(storage), name))
    return _front(summary(study, bar_of(study.name, study.identity, bar)))


@dataclass(frozen=True)
class FinalNumbers:
    """A network that was retrained on all training images, judged on the test images.

    Attributes:
        trial: Number of the trial; None: it is from a file.
        digest: Of its candidate.
        seeds: That are finished.
        failed: Why others failed, by seed.
        accuracies: Share of the test images, by seed.
        mean: Of these; None where no seed is finished.
        std: Their deviation; None where there are fewer than two.
        lower: Lower end of the 95 % confidence interval of the mean; None as well.
        verdict: In words, by the bar.
        score: The highest of the seeds.
        strict_score: The highest of the seeds.
        artifacts: Files, one for each seed.
    """

    trial: int | None
    digest: str
    seeds: tuple[int, ...]
    failed: Mapping[int, str]
    accuracies: tuple[float, ...]
    mean: float | None
    std: float | None
    lower: float | None
    verdict: str
    score: float | None
    strict_score: float | None
    artifacts: tuple[Path, ...]


def retrain(
    *,
    trial: int | str | None = None,
    front: bool = False,
    candidate: AnyPath | None = None,
    storage: str = DEFAULT_STORAGE,
    name: str | None = None,
    seeds: int = 5,
    epochs: int | None = None,
    workers: int = 0,
    dataset: str | None = None,
    data_dir: AnyPath | None = None,
    bar: float | None = None,
    device: str = "auto",
    out: AnyPath | None = None,
    tensorboard: AnyPath | None = None,
) -> tuple[FinalNumbers, ...]:
    """Train chosen networks again for their final numbers, as the command `retrain`, or go on with it.

    Exactly one of `trial`, `front` and `candidate` says which networks. The test images are read once for each seed.

    Args:
        trial: Number of a trial, or the first digits of its network's digest.
        front: All networks on the study's front.
        candidate: A candidate's JSON file, a preset, or the first digits of a digest.
        storage: Where the study lies.
        name: Of the study; may be left out where there is only one.
        seeds: Trainings of each network, with seeds from 0 on.
        epochs: Of the uncompressed training; None: three times the search's.
        workers: Trainings side by side, as for `run`.
        dataset: Instead of the study's.
        data_dir: Where the data set's files are looked for first.
        bar: Accuracy to clear, a share; None: the study's.
        device: "auto", "cpu" or "cuda".
        out: Folder of results and checkpoints; None: one in runs/final.
        tensorboard: Folder of event files for TensorBoard; None: none are written.

    Raises:
        RetrainError, StudyError, CandidateError, DataError, OutputError: Something is wrong that the user can mend:
            each is a ValueError whose text says what.
        SecondRunError: The script has no guard, as for `run`.
    """
    chosen = {"trial": None if trial is None else str(trial), "front": front}
    chosen["candidate"] = None if candidate is None else os.fspath(candidate)
    plan, folder = make_plan(
        storage,
        name,
        chosen,
        dataset=dataset,
        bar=bar,
        seeds=seeds,
        epochs=epochs,
        out=None if out is None else Path(out),
    )
    options = Options(
        storage,
        workers,
        None if data_dir is None else Path(data_dir),
        device,
        out=folder,
        tensorboard=None if tensorboard is None else Path(tensorboard),
    )
    _, summary = run_retraining(plan, options)
    return tuple(map(_final, summary["networks"]))


def _final(row: Mapping[str, Any]) -> FinalNumbers:
    keys = ("trial", "digest", "mean", "std", "lower", "verdict", "score", "strict_score")
    return FinalNumbers(
        seeds=tuple(row["seeds"]),
        failed={failed["seed"]: failed["text"] for failed in row["failed"]},
        accuracies=tuple(row["accuracies"]),
        artifacts=tuple(map(Path, row["artifacts"])),
        **{key: row[key] for key in keys},
    )


def _front(told: Mapping[str, Any], how: str = "", files: Mapping[str, str] | None = None) -> Front:
    """From what the commands print as JSON."""
    return Front(
        study=told["study"],
        storage=told["storage"],
        bar=told["bar"],
        networks=tuple(map(_found, told["front"])),
        nearest=tuple(map(_found, told["nearest"])),
        trials=told["trials"],
        hypervolume=told["hypervolume"],
        how=how,
        files=files or {},
    )


def _found(row: Mapping[str, Any]) -> Found:
    keys = ("trial", "digest", "network", "accuracy", "score", "strict_score")
    cost = row.get("cost", row["score"])
    candidate = None if row["candidate"] is None else Candidate.from_dict(row["candidate"])
    return Found(cost=cost, candidate=candidate, **{key: row[key] for key in keys})
