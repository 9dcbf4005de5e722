"""What `studies` and `show` do: what a storage holds, and a trial whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from slimfront.evaluators.scoring.cost import in_figures
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.commands.tables import layer_table
from slimfront.search.terminal import Console
from slimfront.studies.analysis.finding import find_trial
from slimfront.studies.record import OPTUNA_STATES, State, TrialRecord
from slimfront.studies.report import methods_used
from slimfront.studies.report.numbers import counted, percent_number
from slimfront.studies.store.records import StudyRecord

_BARS = "▁▂▃▄▅▆▇█"
_WIDEST = 60  # columns of a curve
_ORIGINS = {
    "copied_from": "its result is that of trial {}",
    "uncompressed_from": "trial {} had trained its uncompressed network",
    "preset": "the preset {}",
    "imported_from": "imported from {}",
}
_STATES = {"stopped": "stopped early", "waiting": "enqueued"}


def studies_of(storage: str) -> dict[str, Any]:
    """Every study in a storage, by counts alone: no trial is read.

    Returns:
        {"storage", "studies": [{"study", "dataset", "bar", "cost", "hours", "trials": by state}], "others": the names
        of other programs' studies}.

    Raises:
        StudyError: The storage cannot be opened.
    """
    from optuna.trial import TrialState
    from slimfront.studies.foreign import values
    from slimfront.studies.store.identity import COST, IDENTITY, axis_of, bar_of, plain_identity
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.storage import own_studies, safe_url

    opened = open_for_reading(storage)
    own, others = own_studies(opened)
    told = []
    for study in own:
        attributes = study.user_attrs
        identity = plain_identity(attributes.get(IDENTITY))
        number = opened.get_study_id_from_name(study.study_name)
        counts = {
            _STATES.get(state, state.value): opened.get_n_trials(number, TrialState[name])
            for state, name in OPTUNA_STATES.items()
        }
        told.append(
            {
                "study": study.study_name,
                "dataset": identity.get("dataset"),
                "bar": bar_of(study.study_name, identity),
                "cost": axis_of(identity, attributes.get(COST)).title,
                "hours": (values.amount(attributes.get("seconds_worked")) or 0.0) / 3600,
                "trials": counts,
            }
        )
    return {"storage": safe_url(storage), "studies": told, "others": others}


def print_studies(told: Mapping[str, Any], storage: str) -> None:
    """A row a study."""
    console = Console()
    console.print(f"{told['storage']} holds {_counted_studies(len(told['studies']))}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("study", "data", "bar", "keeps low", "hours", "trials"):
        table.add_column(column, justify="right" if column in ("bar", "hours") else "left", overflow="fold")
    for study in told["studies"]:
        table.add_row(
            study["study"],
            study["dataset"] or "",
            f"{percent_number(study['bar'])}%",
            study["cost"],
            f"{study['hours']:.1f}",
            ", ".join(f"{number:,} {state}" for state, number in study["trials"].items() if number) or "none",
        )
    console.print(table)
    if told["others"]:
        console.say(f"not slimfront's: {', '.join(map(repr, told['others']))}")
    say_next(*(command("front", storage=storage, name=study["study"]) for study in told["studies"][:3]))


def trial_of(storage: str, name: str | None, text: str) -> tuple[dict[str, Any], StudyRecord, TrialRecord]:
    """All that a study knows of a trial: as JSON, and as the records that it comes from.

    Args:
        storage: URL of the study's storage.
        name: Of the study; None where there is only one.
        text: The trial's number, or the first digits of its digest.

    Raises:
        StudyError: There is no such study, or no such trial.
    """
    from slimfront.studies.front import front, row
    from slimfront.studies.store.constraint import is_feasible
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.study import find_study, snapshot

    study = snapshot(find_study(open_for_reading(storage), name))
    trial = find_trial(study, text)
    told = {
        "study": study.name,
        "storage": study.storage,
        **row(trial),
        "state": trial.state.value,
        "bar": study.bar,
        "feasible": is_feasible(trial, study.bar),
        "front": trial.number in {other.number for other in front(study.trials, study.bar)},
        "network": None if trial.candidate is None else methods_used.describe(trial.candidate),
        "reason": trial.reason,
        "why": trial.why if trial.reason else None,
        "text": trial.text or None,
        "bound": trial.bound,
        "over": dict(trial.over),
        "seconds": trial.seconds,
        "device": trial.device or None,
        "seed": trial.seed,
        "dataset": trial.dataset or None,
        "copied_from": trial.copied_from,
        "uncompressed_from": trial.uncompressed_from,
        "preset": trial.preset,
        "imported_from": trial.imported_from,
        "notes": list(trial.notes),
        "code": dict(trial.code),
        "environment": dict(trial.details.environment),
        "phases": [dict(phase) for phase in trial.phases],
        "curve": [dataclasses.asdict(point) for point in trial.curve],
        "layers": [dict(layer) for layer in trial.layers],
        "candidate": trial.candidate_dict if trial.candidate is None else trial.candidate.to_dict(),
    }
    return told, study, trial


def print_trial(study: StudyRecord, trial: TrialRecord, storage: str) -> None:
    """How it ended and why, what was decided, what it costs, its layers, its curve."""
    console = Console()
    console.print(f"Trial {trial.number} of {study.name}: {_outcome(study, trial)}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(trial):
        table.add_row(name, value)
    console.print(table)
    if trial.layers:
        console.print()
        console.print(layer_table(trial.layers))
    if trial.measured:
        console.print()
        _print_curve(console, trial)
    for note in trial.notes:
        console.print(f"note: {note}", soft_wrap=True)
    place = {"storage": storage, "name": study.name}
    more = command("front", **place)
    if trial.candidate is None or trial.state is State.FAILED:
        say_next(more)
    else:
        say_next(command("retrain", "--trial", str(trial.number), "--seeds", "5", **place), more)


def _outcome(study: StudyRecord, trial: TrialRecord) -> str:
    accuracy = f"{percent_number(trial.accuracy)}%"
    if trial.state is State.COMPLETE:
        place = "at or above" if (trial.accuracy or 0) >= study.bar else "below"
        return f"{accuracy} on the validation images, {place} the bar of {percent_number(study.bar)}%"
    if trial.state is State.STOPPED:
        if not trial.measured:
            return f"not trained: {trial.why}"
        bound = f"; it could have reached at most {percent_number(trial.bound)}%" if trial.bound is not None else ""
        return f"stopped after {counted(len(trial.measured), 'epoch')} at {accuracy}: {trial.why}{bound}"
    if trial.state is State.FAILED:
        return f"failed: {trial.why}" + (f" ({trial.text})" if trial.text else "")
    return "enqueued, not begun" if trial.state is State.WAITING else "running, or left for the next start"


def _facts(trial: TrialRecord) -> Iterable[tuple[str, str]]:
    candidate, totals = trial.candidate, trial.totals
    if candidate is not None:
        yield "network", methods_used.describe(candidate)
        yield "training", methods_used.training(candidate)
        yield "augmentation", methods_used.augmentation(candidate)
        yield "pruning", methods_used.pruning(candidate)
        yield "bits", methods_used.bits(candidate)
    elif trial.candidate_dict is not None:
        yield "network", "its record needs code that was not given, or another version"
    if trial.digest:
        yield "digest", trial.digest
    if trial.score is not None:
        terms = [in_figures(totals[key]) for key in ("score_params", "score_ops") if totals.get(key) is not None]
        made = " = params term {} + ops term {}".format(*terms) if len(terms) == 2 else ""
        strict = totals.get("strict_score")
        yield "score", f"{in_figures(trial.score)}{made}" + (f"; strict {in_figures(strict)}" if strict else "")
    for name, value in trial.costs.items():
        limit = f", above its bound of {in_figures(trial.over[name])}" if name in trial.over else ""
        yield name, f"{in_figures(value)}{limit}"
    sizes = [(totals.get(key), word) for key, word in (("parameters", "parameters"), ("weights", "weights"))]
    told = [f"{number:,} {word}" for number, word in sizes if number is not None]
    if told and totals.get("macs") is not None:
        yield "size", ", ".join([*told, f"{totals['macs']:,} multiply-adds an image"])
    if trial.seconds is not None:
        yield "time", f"{trial.seconds:,.0f} s" + (f" on {trial.device}" if trial.device else "")
    for key, words in _ORIGINS.items():
        if getattr(trial, key) is not None:
            yield "origin", words.format(getattr(trial, key))


def _print_curve(console: Console, trial: TrialRecord) -> None:
    """Accuracy on the validation images over the epochs: a line of bars, then a row a phase."""
    values = [accuracy for _, accuracy in trial.measured]
    console.print(f"accuracy over {counted(len(values), 'epoch')}  {sparkline(values)}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("phase", "epochs", "first", "best", "last", "loss", "seconds"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase, points in groupby(trial.curve, key=lambda point: point.phase):
        some = list(points)
        known = [point.accuracy for point in some if point.accuracy is not None]
        losses = [point.loss for point in some if point.loss is not None]
        shown = [f"{percent_number(value)}%" for value in (known[0], max(known), known[-1])] if known else [""] * 3
        table.add_row(
            phase,
            str(sum(point.epoch > 0 for point in some)),
            *shown,
            f"{losses[-1]:.3g}" if losses else "",
            f"{sum(point.seconds or 0.0 for point in some):,.0f}",
        )
    console.print(table)


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of eight heights, at most 60 of them.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    step = max(1, -(-len(values) // _WIDEST))
    shown = [values[min(start + step, len(values)) - 1] for start in range(0, len(values), step)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[min(7, int(8 * (value - low) / span))] for value in shown)


def _counted_studies(number: int) -> str:
    return "1 study" if number == 1 else f"{number:,} studies"
