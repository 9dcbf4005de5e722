"""Which candidate is tried next: the sampler and its neighbours propose many, the most promising for its cost is taken.

Promise is the expected gain of the front's hypervolume (Emmerich et al. 2006) for each epoch that would be trained.
Accuracy is predicted in two steps, each a regression on what the study has seen:

    final accuracy = accuracy of the dense network (known, once it is trained) + what its compression changes

So a compression of a dense network that lies in the store costs little, is predicted well, and is chosen as long as
one of them can still move the front; then a new dense network is. The architecture is held fixed for these, and the
sampler proposes the rest.
"""

from __future__ import annotations

import random
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.drafts import Asking, Known, Parameters, Quiet
from search.judging import CandidateOf
from search.promise import expected_gain
from search.regression import Array, Regression, encode
from spaces import Candidate, Space
from studies.front import REFERENCE_SCORE, Point, non_dominated
from studies.record import REPEATABLE, candidate_of

Indices = NDArray[np.intp]

COMPRESSIONS = 3  # of each dense network, before the predictions begin
LEAST_DENSE = 3  # dense networks that a prediction needs
SAMPLED = 1  # proposals of the sampler
DRAWN = 16  # at random
NEAR = 16  # small changes of networks on the front
EACH = 8  # compressions of each dense network
NETWORKS = 6  # dense networks that are compressed further, the most accurate and the latest
RATED = 4  # of the most promising, whose score is measured instead of predicted as long as a study is young
YOUNG = 100  # trials; then the prediction of the score, which has no noise, is relied on
MOST = 256  # trials that predictions learn from, the latest
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
        score: Final, or known before training.
        complete: Whether it was trained to its end.
        trial: Its number.
    """

    trial: int
    parameters: Parameters
    digest: str
    dense: str
    dense_accuracy: float | None
    accuracy: float | None
    score: float
    complete: bool


@dataclass
class _Option:
    parameters: Parameters
    candidate: Candidate
    known: float | None  # accuracy of the dense network, where it is trained already
    cost: float


class Proposer:
    """Keeps what the study has seen, and proposes.

    Args:
        space: What can be chosen.
        bar: Accuracy that the front demands.
        startup: Trials before predictions are made.
        rate: Score of a candidate, measured without training.
        max_score: Candidates above are not proposed where others are.
    """

    def __init__(
        self,
        space: Space,
        bar: float,
        startup: int,
        rate: Callable[[Candidate], float],
        max_score: float | None = None,
    ) -> None:
        self._space, self._bar, self._startup, self._rate = space, bar, startup, rate
        self._limited = max_score is not None
        self._limit = REFERENCE_SCORE if max_score is None else min(REFERENCE_SCORE, max_score)
        self._seen: dict[int, Seen] = {}
        self._digests: set[str] = set()
        self._origins: dict[str, int] = {}
        self._good: list[Seen] = []  # complete ones at or above the bar by ascending score, then those below; the first
        self._front: list[Point] = []
        self._known = Known()

    def learn(self, trials: Iterable[FrozenTrial], candidate: CandidateOf = candidate_of) -> None:
        """Take in ended trials that are new; those for which `candidate` is None say nothing new."""
        complete: list[Point] = []
        for trial in trials:
            if trial.state == TrialState.FAIL and trial.user_attrs.get("reason") in REPEATABLE:
                self._digests.add(str(trial.user_attrs.get("digest")))  # it would only fail again
            if trial.number in self._seen or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
                continue
            found = _read(trial, candidate(trial))
            if found is not None:
                self._seen[trial.number] = found
                self._digests.add(found.digest)
                if found.dense_accuracy is not None:
                    self._origins.setdefault(found.dense, found.trial)
                if found.complete and found.accuracy is not None:
                    complete.append((found.accuracy, found.score))
                    insort(self._good, found, key=self._rank)
                    del self._good[NEAR:]
        points = [*self._front, *complete]
        self._front = [points[index] for index in non_dominated(points)]

    def _rank(self, one: Seen) -> tuple[bool, float]:
        return one.accuracy is None or one.accuracy < self._bar, one.score

    def origin(self, candidate: Candidate) -> int | None:
        """Number of the first trial that trained the candidate's dense network; None: it has not been trained yet."""
        return self._origins.get(candidate.dense_digest)

    def propose(
        self, study: optuna.Study, sampler: BaseSampler, trial: FrozenTrial, seed: int, open_work: Sequence[Candidate]
    ) -> Parameters | None:
        """Parameters of the next trial; None: ask the sampler alone, as there is nothing new to choose from.

        Args:
            study: Whose trials the sampler looks at.
            sampler: Of the study.
            trial: That the parameters are for; running, without parameters.
            seed: Of everything random here.
            open_work: Candidates in training.
        """
        ask = Asking(Quiet(study), trial, self._space, self._known, random.Random(seed))
        seen = list(self._seen.values())[-MOST:]
        taken = self._digests | {candidate.digest for candidate in open_work}
        trained = {one.dense: one for one in seen if one.dense_accuracy is not None}
        busy = {candidate.dense_digest for candidate in open_work} - set(trained)
        if len(seen) < self._startup or len(trained) < LEAST_DENSE:
            found = self._begin(ask, sampler, trained, taken, busy, open_work)
            # In a space with a dense network or two, which are known soon, what is left to choose is predicted.
            if found is not None or all(one.accuracy is None for one in trained.values()):
                return found
        generator = np.random.default_rng(seed)
        proposals = [ask(sampler, {}) for _ in range(SAMPLED)] + [ask(None, {}) for _ in range(DRAWN)]
        proposals += [ask(None, near) for near in self._neighbours(generator)]
        for one in _worth_compressing(trained):
            fixed = {name: value for name, value in one.parameters.items() if not of_compression(name)}
            proposals += [ask(None, fixed) for _ in range(EACH)]
        options = self._options(proposals, trained, taken, busy)
        return self._best(options, seen, list(trained.values())) if options else None

    def _begin(
        self,
        ask: Asking,
        sampler: BaseSampler,
        trained: Mapping[str, Seen],
        taken: set[str],
        busy: set[str],
        open_work: Sequence[Candidate],
    ) -> Parameters | None:
        """Before there is enough to predict from: a few compressions of each dense network, then another one."""
        tries = Counter(one.dense for one in self._seen.values())
        tries.update(candidate.dense_digest for candidate in open_work)
        for one in trained.values():
            if tries[one.dense] < COMPRESSIONS:
                fixed = {name: value for name, value in one.parameters.items() if not of_compression(name)}
                options = self._options([ask(None, fixed) for _ in range(EACH)], {one.dense: one}, taken, busy)
                same = [option for option in options if option.known is not None]
                if same:
                    return self._first(same).parameters
        proposals = [ask(sampler, {}) for _ in range(SAMPLED)] + [ask(None, {}) for _ in range(EACH)]
        options = self._options(proposals, trained, taken, busy)
        fresh = [option for option in options if option.known is None]
        return self._first(fresh).parameters if fresh else None

    def _first(self, options: Sequence[_Option]) -> _Option:
        """The first that is not above the study's largest score, if it has one; where all are, the first."""
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
        proposals: Iterable[tuple[Parameters, Candidate] | None],
        trained: Mapping[str, Seen],
        taken: set[str],
        busy: set[str],
    ) -> list[_Option]:
        """Those proposals that are new, once each, and whose dense network is not being trained right now."""
        found: dict[str, _Option] = {}
        for proposal in proposals:
            if proposal is None:
                continue
            parameters, candidate = proposal
            digest, dense = candidate.digest, candidate.dense_digest
            if digest in taken or digest in found or dense in busy:
                continue
            known = trained[dense].dense_accuracy if dense in trained else None
            cost = OVERHEAD + compression_epochs(candidate) + (0 if known is not None else candidate.recipe.epochs)
            found[digest] = _Option(parameters, candidate, known, cost)
        return list(found.values())

    def _best(self, options: Sequence[_Option], seen: Sequence[Seen], trained: Sequence[Seen]) -> Parameters:
        """The option of the most expected gain an epoch; of those without any, the one most likely to reach the bar."""
        mean, deviation, scores = self._predict(options, seen, trained)
        costs = np.array([option.cost for option in options])

        def worth(chosen: Indices, at: Array) -> Array:
            gain = expected_gain(mean[chosen], deviation[chosen], at, self._front, self._bar, self._limit)
            hope = 1e-9 * (mean[chosen] + deviation[chosen] - self._bar)
            result: Array = np.where(at < self._limit, gain / costs[chosen] + hope, -1.0)
            return result

        everything = np.arange(len(options))
        rated = RATED if len(seen) < YOUNG else 1
        order = np.argsort(-worth(everything, scores), kind="stable")[:rated]
        if rated > 1:  # a count is worth its time only while there are few to learn from
            measured = np.array([self._rated(options[index]) for index in order])
            order = order[np.argsort(-worth(order, measured), kind="stable")]
        best: _Option = options[order[0]]
        return best.parameters

    def _rated(self, option: _Option) -> float:
        try:
            return self._rate(option.candidate)
        except (ValueError, RuntimeError):  # no network can be built from it: not a promise
            return float("inf")

    def _predict(
        self, options: Sequence[_Option], seen: Sequence[Seen], trained: Sequence[Seen]
    ) -> tuple[Array, Array, Array]:
        """Mean and deviation of the options' final accuracy, and their score, each (options,).

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
        scores, _ = Regression(known, np.log([one.score for one in seen])).predict(wanted)
        return mean + change, np.sqrt(deviation**2 + spread**2), np.exp(scores)


def _worth_compressing(trained: Mapping[str, Seen]) -> list[Seen]:
    """The most accurate dense networks, and the latest."""
    latest = list(trained.values())[-NETWORKS // 2 :]
    best = sorted(trained.values(), key=lambda one: -(one.dense_accuracy or 0.0))[:NETWORKS]
    return list({one.dense: one for one in [*latest, *best]}.values())[:NETWORKS]


def compression_epochs(candidate: Candidate) -> int:
    """Epochs of everything after the dense training."""
    return sum(candidate.stages.values()) - candidate.recipe.epochs


def _read(trial: FrozenTrial, candidate: Candidate | None) -> Seen | None:
    if candidate is None:
        return None
    attributes = trial.user_attrs
    curve = attributes.get("curve") or {}
    rows = zip(*(curve.get(name, ()) for name in ("stage", "epoch", "accuracy")), strict=True)
    dense = [value for stage, epoch, value in rows if stage == "dense" and epoch == candidate.recipe.epochs]
    complete = trial.state == TrialState.COMPLETE
    return Seen(
        trial=trial.number,
        parameters=dict(trial.params),
        digest=candidate.digest,
        dense=candidate.dense_digest,
        dense_accuracy=dense[0] if dense else None,
        accuracy=trial.values[0] if complete else attributes.get("bound"),
        score=float(trial.values[1] if complete else attributes["score"]["score"]),
        complete=complete,
    )
