"""The strategies: each plays on the table with one seed, until its epochs are used up.

random, tpe, nsga2      Optuna as its documentation shows it: every trial is trained to its end
tpe_log                 the second objective is the logarithm of the score
tpe_median, ...         the same, stopped where the best accuracy so far is below the others' median at that epoch
slimfront               search.engine and search.scheduling as they run real searches
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from slimfront.evaluators.job import Job
from slimfront.search.engine import Engine
from slimfront.search.launch import make_desk
from slimfront.search.scheduling.endings import Circumstances
from slimfront.search.scheduling.scheduler import Scheduler
from slimfront.search.workers.local import InProcess
from slimfront.studies.record import State, TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.storage import open_storage
from slimfront.studies.store.study import open_study

from benchmarks.replay.table import Row, Spending, Table

MEDIAN_STARTUP, MEDIAN_WARMUP = 5, 5  # trials and epochs: Optuna's MedianPruner has 5 and 0


def optuna_plain(
    table: Table,
    seed: int,
    budget: int,
    sampler: Callable[..., BaseSampler],
    *,
    median: bool = False,
    log: bool = False,
) -> Spending:
    """Optuna with a constraint on accuracy, as a user would write it: nothing is shared, copies are trained again."""
    spending = Spending(table)
    seen: list[list[float]] = []  # of each completed trial the best accuracy up to each epoch

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        row = table.rows[table.space.sample(trial).digest]
        best: list[float] = []
        for stage, epoch, _, accuracy in row.curve:
            if epoch == 0:
                continue
            spending.pay(row, stage, epoch)
            best.append(max([accuracy, *best[-1:]]))
            if median and len(seen) >= MEDIAN_STARTUP and len(best) > MEDIAN_WARMUP and len(best) < row.epochs:
                others = [curve[len(best) - 1] for curve in seen if len(curve) >= len(best)]
                if others and best[-1] < statistics.median(others):
                    raise optuna.TrialPruned
        seen.append(best)
        spending.finish(row)
        trial.set_user_attr("constraint", table.bar - row.accuracy)
        return row.accuracy, math.log(row.score) if log else row.score

    def constraint(trial: FrozenTrial) -> Sequence[float]:
        return (float(trial.user_attrs.get("constraint", 1.0)),)

    options = {} if sampler is RandomSampler else {"constraints_func": constraint}
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(seed=seed, **options))
    while spending.epochs < budget and not spending.complete:
        study.optimize(objective, n_trials=1)
    return spending


class _Silent:
    """Shows nothing (`slimfront.search.display.Display`)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


class _Budgeted(Scheduler):
    """A scheduler whose limit is another than trials or hours."""

    is_over: Callable[[], bool]

    def over(self) -> bool:
        """See `slimfront.search.engine.Client`."""
        return self.is_over()


@dataclasses.dataclass
class Played:
    """A search on the table.

    Attributes:
        spending: What it paid, and had for it.
        trials: As the study keeps them.
    """

    spending: Spending
    trials: list[TrialRecord]

    def false_stops(self) -> tuple[int, int]:
        """(how many spared trials were on the front in the end, how many were spared)"""
        from slimfront.studies.analysis.false_stops import false_stops

        found = false_stops(self.trials, self.spending.table.bar)
        return found.wrong, found.spared


def slimfront(table: Table, seed: int, budget: int, rules: dict[str, Any] | None = None, **settings: Any) -> Played:
    """A real search, but for its evaluator: ends when the epochs are used up, or everything has been tried."""
    spending = Spending(table, share=True)
    written = {"name": "replay", "dataset": "cifar10", "space": table.written["space"], "bar": table.bar}
    chosen = Settings(**{**written, "seed": seed, "early_stopping": rules or {}, **settings})
    store = open_study(open_storage("sqlite://"), chosen.name)  # in memory
    desk = make_desk(store, chosen, Circumstances(table.written["data"], "cpu", 1), table.rate)
    with tempfile.TemporaryDirectory() as folder:
        make_job = partial(Job, dataset="cifar10", seed=seed)
        scheduler = _Budgeted(desk, make_job, Path(folder), lambda: None)
        scheduler.is_over = lambda: spending.epochs >= budget or desk.intake.exhausted()
        Engine(scheduler, InProcess(spending.evaluate), _Silent()).run()
    return Played(spending, store.trials)


STRATEGIES: dict[str, Callable[[Table, int, int], Spending]] = {
    "random": lambda table, seed, budget: optuna_plain(table, seed, budget, RandomSampler),
    "tpe": lambda table, seed, budget: optuna_plain(table, seed, budget, TPESampler),
    "tpe_log": lambda table, seed, budget: optuna_plain(table, seed, budget, TPESampler, log=True),
    "nsga2": lambda table, seed, budget: optuna_plain(table, seed, budget, NSGAIISampler),
    "tpe_median": lambda table, seed, budget: optuna_plain(table, seed, budget, TPESampler, median=True),
    "nsga2_median": lambda table, seed, budget: optuna_plain(table, seed, budget, NSGAIISampler, median=True),
}


def stopped(trials: Sequence[TrialRecord]) -> int:
    """How many were stopped early, after at least one epoch."""
    return sum(t.state is State.STOPPED and bool(t.curve) for t in trials)


def row_of(table: Table, trial: TrialRecord) -> Row:
    """A trial's row of the table."""
    return table.rows[str(trial.digest)]
