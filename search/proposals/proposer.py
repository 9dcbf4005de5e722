"""Which candidate is tried next: the sampler and its neighbours propose many, the most promising for its cost is taken.

Promise is the expected gain of the front's hypervolume (Emmerich et al. 2006) for each epoch that would be trained.
Accuracy is predicted in two steps, each a regression on what the study has seen:

    final accuracy = accuracy of the dense network (known, once it is trained) + what its compression changes

So a compression of a dense network that lies in the store costs little, is predicted well, and is chosen as long as
one of them can still move the front; then a new dense network is. The architecture is held fixed for these, and the
sampler proposes the rest.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from slimfront.evaluators.scoring.cost import Rating, known_before, over
from slimfront.search.proposals.asking import ATTEMPTS, Asking
from slimfront.search.proposals.drafts import Draft, Drafts, Parameters
from slimfront.search.proposals.expected_gain import expected_gain
from slimfront.search.proposals.regression import Array, Regression, encode
from slimfront.search.proposals.sampling import Sampling
from slimfront.search.supernet.preparation import NOTHING, Preparation
from slimfront.spaces import Candidate, CandidateError
from slimfront.spaces.candidate import UNCOMPRESSED
from slimfront.studies.front import Point, non_dominated
from slimfront.studies.record import REPEATABLE, State, TrialRecord, uncompressed_epochs
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import costs_of

Indices = NDArray[np.intp]

COMPRESSIONS = 3  # of each dense network, before the predictions begin
LEAST_DENSE = 3  # dense networks that a prediction needs
SAMPLED = 1  # proposals of the sampler
DRAWN = 16  # at random
NEAR = 16  # small changes of networks on the front
EACH = 8  # compressions of each dense network
NETWORKS = 6  # dense networks that are compressed further, the most accurate and the latest
RATED = 4  # of the most promising, whose cost is measured instead of predicted as long as a study is young
YOUNG = 100  # trials; then the prediction of the cost, which has no noise, is relied on
MOST = 256  # trials that predictions learn from, the latest
LENGTH = "bits.epochs"  # the parameter that says how long a compression trains
OVERHEAD = 0.5  # epochs that a trial costs besides its training


def of_compression(name: str) -> bool:
    """Whether a parameter belongs to what follows the dense training."""
    return name.startswith(("pruning.", "bits."))


@dataclass(frozen=True)
class Seen:
    """What a trial has taught.

    Attributes:
        parameters: Of the trial.
        digest: Of the candidate.
        dense: Digest of the dense network.
        dense_accuracy: At the end of the dense training; None: it did not get there.
        accuracy: At the end; of a stopped trial what was still in reach; None: unknown.
        cost: What the study keeps low, final or known before training; None: not known.
        costs: All that are known, by name.
        complete: Whether it was trained to its end.
        within: Whether it keeps to all bounds of the study.
        trial: Its number.
    """

    trial: int
    parameters: Parameters
    digest: str
    dense: str
    dense_accuracy: float | None
    accuracy: float | None
    cost: float | None
    costs: Mapping[str, float]
    complete: bool
    within: bool


@dataclass
class _Option:
    draft: Draft
    known: float | None  # accuracy of the uncompressed network, where it is trained already
    epochs: float  # that it takes, and some for what a trial costs besides

    @property
    def candidate(self) -> Candidate:
        return self.draft.candidate

    @property
    def parameters(self) -> Parameters:
        return self.draft.parameters


class Proposer:
    """Keeps what the study has seen, and proposes.

    Args:
        settings: Of the study.
        drafts: Of its space.
        rate: What is known of a candidate without training.
        preparation: What trials start from.
    """

    def __init__(
        self,
        settings: Settings,
        drafts: Drafts,
        rate: Callable[[Candidate], Rating],
        preparation: Preparation = NOTHING,
    ) -> None:
        self._settings, self._drafts, self._rate, self._preparation = settings, drafts, rate, preparation
        self._sampling = Sampling(settings, drafts)
        self._bar, self._cost, self._bounds = settings.bar, settings.cost, settings.refused_above
        self._limit = min(settings.axis.corner, self._bounds.get(self._cost, math.inf))
        self._rates = bool(known_before({self._cost, *self._bounds}))
        self._limited = bool(known_before(self._bounds))
        self._known: set[int] = set()  # trials that were taken in
        self._seen: dict[int, Seen] = {}
        self._digests: set[str] = set()
        self._origins: dict[str, int] = {}
        self._good: list[Seen] = []  # complete ones at or above the bar by ascending cost, then the others; the first
        self._front: list[Point] = []

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in trials that have ended and are new."""
        news = [record for record in records if record.state.is_over and record.number not in self._known]
        self._known.update(record.number for record in news)
        self._sampling.learn(news)
        self._preparation.learn(news)
        complete: list[Point] = []
        for record in news:
            if record.state == State.FAILED and record.reason in REPEATABLE:
                self._digests.add(str(record.digest))  # it would only fail again
            found = _read(record) if record.state in (State.COMPLETE, State.STOPPED) else None
            if found is not None:
                self._seen[record.number] = found
                self._digests.add(found.digest)
                if found.dense_accuracy is not None and not record.inherited:
                    self._origins.setdefault(found.dense, found.trial)
                if found.complete and found.accuracy is not None and found.cost is not None:
                    if found.within:
                        complete.append((found.accuracy, found.cost))
                    insort(self._good, found, key=self._rank)
                    del self._good[NEAR:]
        points = [*self._front, *complete]
        self._front = [points[index] for index in non_dominated(points)]

    def _rank(self, one: Seen) -> tuple[bool, float]:
        return one.accuracy is None or one.accuracy < self._bar or not one.within, one.cost or 0.0

    def origin(self, candidate: Candidate) -> int | None:
        """Number of the first trial that trained the candidate's uncompressed network; None: none has."""
        return self._origins.get(candidate.uncompressed_digest)

    def propose(self, number: int, open_trials: Sequence[TrialRecord]) -> Draft:
        """The next trial, which will have this number, while others are in training.

        Raises CandidateError where nothing that the sampler chooses makes a candidate.
        """
        ask = Asking(
            self._sampling, self._drafts, number, open_trials, self._settings.seed, self._hopeless, self._now()
        )
        open_work = [record.candidate for record in open_trials if record.candidate is not None]
        found = self._choose(ask, open_work)
        for _ in range(ATTEMPTS if found is None else 0):
            found = found or ask.sampler()
        if found is None:
            raise CandidateError("What the sampler chooses makes no candidate, again and again.")
        return found

    def _now(self) -> Parameters:
        """What the plan of the hours fixes for a trial that begins now."""
        pace = self._preparation.pace
        length = None if pace is None else pace.length
        return {} if length is None else {LENGTH: length}

    def _hopeless(self, draft: Draft) -> bool:
        """Whether the cut of its shape tells that it stays below the bar."""
        return self._preparation.ceiling(draft.candidate.architecture) < self._bar

    def _choose(self, ask: Asking, open_work: Sequence[Candidate]) -> Draft | None:
        """None: there is nothing new to choose from."""
        seen = list(self._seen.values())[-MOST:]
        taken = self._digests | {candidate.digest for candidate in open_work}
        trained = {one.dense: one for one in seen if one.dense_accuracy is not None}
        busy = {candidate.uncompressed_digest for candidate in open_work} - set(trained)
        if self._preparation.supernet is not None:
            busy = set()  # no network is waited for: each is cut in no time
        if len(seen) < self._settings.startup_trials or len(trained) < LEAST_DENSE:
            found = self._begin(ask, trained, taken, busy, open_work)
            # In a space with a network or two, which are known soon, what is left to choose is predicted.
            if found is not None or all(one.accuracy is None for one in trained.values()):
                return found
        pace = self._preparation.pace
        if pace is not None and pace.is_long:  # of those that were tried for short
            options = self._options([ask(one.parameters) for one in seen if one.complete], trained, taken, busy)
            if options:
                return self._best(options, seen, list(trained.values())).draft
        generator = np.random.default_rng(ask.seed)
        proposals = [ask.sampler() for _ in range(SAMPLED)] + [ask() for _ in range(DRAWN)]
        proposals += [ask(near) for near in self._neighbours(generator)]
        for one in _worth_compressing(trained):
            fixed = {name: value for name, value in one.parameters.items() if not of_compression(name)}
            proposals += [ask(fixed) for _ in range(EACH)]
        options = self._options(proposals, trained, taken, busy)
        return self._best(options, seen, list(trained.values())).draft if options else None

    def _begin(
        self,
        ask: Asking,
        trained: Mapping[str, Seen],
        taken: set[str],
        busy: set[str],
        open_work: Sequence[Candidate],
    ) -> Draft | None:
        """Before there is enough to predict from: a few compressions of each network, then another network."""
        tries = Counter(one.dense for one in self._seen.values())
        tries.update(candidate.uncompressed_digest for candidate in open_work)
        for one in trained.values():
            if tries[one.dense] < COMPRESSIONS:
                fixed = {name: value for name, value in one.parameters.items() if not of_compression(name)}
                options = self._options([ask(fixed) for _ in range(EACH)], {one.dense: one}, taken, busy)
                same = [option for option in options if option.known is not None]
                if same:
                    return self._first(same).draft
        proposals = [ask.sampler() for _ in range(SAMPLED)] + [ask() for _ in range(EACH)]
        options = self._options(proposals, trained, taken, busy)
        fresh = [option for option in options if option.known is None]
        return self._first(fresh).draft if fresh else None

    def _first(self, options: Sequence[_Option]) -> _Option:
        """The first that keeps to the bounds, as far as they are known before training; where none does, the first."""
        if not self._limited:
            return options[0]
        return next((option for option in options if self._rated(option) < self._limit), options[0])

    def _neighbours(self, generator: np.random.Generator) -> list[Parameters]:
        """Parameters of good trials without a few, which are then drawn anew."""
        result: list[Parameters] = []
        for index in range(NEAR if self._good else 0):
            one = self._good[index % len(self._good)]
            names = sorted(one.parameters)
            dropped = set(generator.choice(names, min(len(names), int(generator.integers(1, 4))), replace=False))
            result.append({name: value for name, value in one.parameters.items() if name not in dropped})
        return result

    def _options(
        self,
        proposals: Iterable[Draft | None],
        trained: Mapping[str, Seen],
        taken: set[str],
        busy: set[str],
    ) -> list[_Option]:
        """Those proposals that are new, once each, and whose uncompressed network is not being trained right now."""
        found: dict[str, _Option] = {}
        for draft in proposals:
            if draft is None or self._hopeless(draft):
                continue
            digest, dense = draft.candidate.digest, draft.candidate.uncompressed_digest
            if digest in taken or digest in found or dense in busy:
                continue
            known = trained[dense].dense_accuracy if dense in trained else None
            epochs = compression_epochs(draft.candidate)
            if known is None and self._preparation.supernet is None:
                epochs += draft.candidate.recipe.epochs
            found[digest] = _Option(draft, known, OVERHEAD + epochs)
        return list(found.values())

    def _best(self, options: Sequence[_Option], seen: Sequence[Seen], trained: Sequence[Seen]) -> _Option:
        """The option of the most expected gain an epoch; of those without any, the one most likely to reach the bar."""
        mean, deviation, costs, within = self._predict(options, seen, trained)
        epochs = np.array([option.epochs for option in options])
        ceilings = np.array([self._preparation.ceiling(option.candidate.architecture) for option in options])

        def worth(chosen: Indices, at: Array) -> Array:
            gain = expected_gain(
                mean[chosen], deviation[chosen], at, self._front, self._bar, self._limit, ceilings[chosen]
            )
            hope = 1e-9 * (mean[chosen] + deviation[chosen] - self._bar)
            result: Array = np.where((at < self._limit) & within[chosen], gain / epochs[chosen] + hope, -1.0)
            return result

        everything = np.arange(len(options))
        rated = RATED if self._rates and (len(seen) < YOUNG or set(self._bounds) - {self._cost}) else 1
        order = np.argsort(-worth(everything, costs), kind="stable")[:rated]
        if rated > 1:  # a count is worth its time only while there are few to learn from
            measured = np.array([self._rated(options[index], float(costs[index])) for index in order])
            order = order[np.argsort(-worth(order, measured), kind="stable")]
        best: _Option = options[order[0]]
        return best

    def _rated(self, option: _Option, predicted: float = 0.0) -> float:
        """Its cost, as predicted where that is not known before training; infinite where it breaks a bound."""
        try:
            rating = self._rate(option.candidate)
        except (ValueError, RuntimeError):  # no network can be built from it: not a promise
            return math.inf
        return math.inf if over(rating.costs, self._bounds) else rating.costs.get(self._cost, predicted)

    def _predict(
        self, options: Sequence[_Option], seen: Sequence[Seen], trained: Sequence[Seen]
    ) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Of the options, (options,) each: mean and deviation of the final accuracy, cost, whether the bounds hold.

        What is unlike all that was tried is taken to be as good as the best dense network, and to lose nothing:
        otherwise a bad beginning would never be left.
        """
        asked = [option.parameters for option in options]
        parts = encode([*(one.parameters for one in trained), *asked], without=of_compression)
        reached = np.array([one.dense_accuracy or 0.0 for one in trained])
        mean, deviation = Regression(parts[: len(trained)], reached, reached.max()).predict(parts[len(trained) :])
        for index, option in enumerate(options):
            if option.known is not None:
                mean[index], deviation[index] = option.known, 0.0
        features = encode([*(one.parameters for one in seen), *asked])
        known, wanted = features[: len(seen)], features[len(seen) :]
        ended = [one.dense_accuracy is not None and one.accuracy is not None for one in seen]
        changes = [(one.accuracy or 0.0) - (one.dense_accuracy or 0.0) for one in seen]
        change, spread = Regression(known[ended], np.array(changes)[ended], 0.0).predict(wanted)
        costs = _expected_costs(known, [one.cost for one in seen], wanted)
        within = np.ones(len(options), bool)
        for name in set(self._bounds) - {self._cost}:
            within &= _expected_costs(known, [one.costs.get(name) for one in seen], wanted) <= self._bounds[name]
        return mean + change, np.sqrt(deviation**2 + spread**2), costs, within


def _expected_costs(features: Array, values: Sequence[float | None], wanted: Array) -> Array:
    """Costs (m,) at the features `wanted` (m, d), from those at `features` (n, d) that are known; 0 where none is."""
    known = [index for index, value in enumerate(values) if value]
    if not known:
        return np.zeros(len(wanted))
    logarithms = np.log([value for value in values if value])
    result: Array = np.exp(Regression(features[known], logarithms).predict(wanted)[0])
    return result


def _worth_compressing(trained: Mapping[str, Seen]) -> list[Seen]:
    """The most accurate dense networks, and the latest."""
    latest = list(trained.values())[-NETWORKS // 2 :]
    best = sorted(trained.values(), key=lambda one: -(one.dense_accuracy or 0.0))[:NETWORKS]
    return list({one.dense: one for one in [*latest, *best]}.values())[:NETWORKS]


def compression_epochs(candidate: Candidate) -> int:
    """Epochs of everything after the dense training."""
    return sum(candidate.phases.values()) - candidate.recipe.epochs


def _read(record: TrialRecord) -> Seen | None:
    candidate = record.own_candidate
    complete = record.state == State.COMPLETE
    if candidate is None or (complete and record.cost is None):
        return None
    last = uncompressed_epochs(record)
    dense = [point.accuracy for point in record.curve if point.phase == UNCOMPRESSED and point.epoch == last]
    return Seen(
        trial=record.number,
        parameters=dict(record.parameters),
        digest=candidate.digest,
        dense=candidate.uncompressed_digest,
        dense_accuracy=dense[0] if dense else None,
        accuracy=record.accuracy if complete else record.bound,
        cost=record.cost,
        costs=costs_of(record),
        complete=complete,
        within=not record.over,
    )
