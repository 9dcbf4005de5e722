"""Regression with honest error bars from few points: a Gaussian process in a hundred lines.

Kernel: a linear part and a Matern-5/2 part (Rasmussen and Williams 2006, chapters 2, 4 and 5); its scale follows in
closed form, and length, noise and the linear part's weight are those of the largest marginal likelihood among a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

Array = NDArray[np.floating[Any]]

LENGTHS = (0.7, 2.0)  # of the Matern part, in units of a feature's whole range
NOISES = (1e-3, 3e-2)  # variances, as shares of the kernel's
LINEAR = (0.0, 0.5)  # weight of the linear part


class Regression:
    """Fitted to features (n, d) and targets (n,), n >= 1; predicts mean and standard deviation elsewhere.

    Far from everything known it predicts `center`, the targets' mean where None, with as much spread around it as the
    targets have.
    """

    def __init__(self, features: Array, targets: Array, center: float | None = None) -> None:
        self._features = np.asarray(features, float)
        targets = np.asarray(targets, float)
        self._center = float(targets.mean()) if center is None else center
        spread = float(np.sqrt(((targets - self._center) ** 2).mean()))
        self._unit = spread if spread > 1e-9 else 1e-9
        residuals = (targets - self._center) / self._unit
        best = -math.inf
        distances, products = _distances(self._features, self._features), self._features @ self._features.T
        for length in LENGTHS:
            smooth = _matern(distances / length)
            for linear in LINEAR:
                kernel = smooth + linear * products
                for noise in NOISES:
                    fitted = _fit(kernel, noise, residuals)
                    if fitted is not None and fitted[0] > best:
                        best, self._factor, half, self._scale = fitted
                        self._length, self._linear, self._noise = length, linear, noise
        self._weights: Array = solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False)

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (m,) of the targets at `features` (m, d), noise included."""
        features = np.asarray(features, float)
        cross = _matern(_distances(features, self._features) / self._length)
        cross += self._linear * features @ self._features.T
        mean = self._center + self._unit * (cross @ self._weights)
        solved = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)  # (n, m)
        own = 1 + self._linear * (features**2).sum(1) + self._noise
        variance = np.maximum(own - (solved**2).sum(0), 1e-12) * self._scale
        return mean, self._unit * np.sqrt(variance)


def _fit(kernel: Array, noise: float, residuals: Array) -> tuple[float, Array, Array, float] | None:
    """(log marginal likelihood, Cholesky factor, residuals solved by it, scale); None where the matrix is singular.

    Of the factor, the lower triangle is meant. LAPACK's own routine, in place: half the time of numpy's.
    """
    matrix = np.array(kernel, order="F")
    np.fill_diagonal(matrix, matrix.diagonal() + (noise + 1e-9))
    factor, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    if info > 0:  # not positive definite
        return None
    assert info == 0, info
    half: Array = solve_triangular(factor, residuals, lower=True, check_finite=False)
    # With a weak prior on the scale (one pseudo-observation of 1): few points must not claim to know it.
    count = len(residuals)
    scale = float((half @ half + 1) / (count + 1))
    likelihood = -0.5 * (count + 1) * math.log(scale) - float(np.log(np.diag(factor)).sum())
    return likelihood, factor, half, scale


def _distances(some: Array, others: Array) -> Array:
    squares = (some**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * some @ others.T
    result: Array = np.sqrt(np.maximum(squares, 0))
    return result


def _matern(distances: Array) -> Array:
    scaled = math.sqrt(5) * distances
    result: Array = 1 + scaled
    result += scaled**2 / 3
    result *= np.exp(np.negative(scaled, out=scaled), out=scaled)
    return result


def encode(rows: Sequence[Mapping[str, Any]], without: Callable[[str], bool] = lambda _: False) -> Array:
    """Features (rows, columns) of named values that not every row needs to have.

    A number becomes its place in the range seen, in [0, 1], on a log scale where all are positive and the largest is at
    least four times the smallest; a word or truth value one column for each. Absence is a column of its own, and in the
    middle otherwise. What is the same in all rows is left out, and names for which `without` holds.
    """
    columns: list[Array] = []
    everywhere = np.ones(len(rows), bool)
    for name in sorted(name for name in set().union(*rows) if not without(name)):
        values = [row.get(name) for row in rows]
        types = set(map(type, values))  # a few, where there are hundreds of values
        present = np.array([value is not None for value in values]) if type(None) in types else everywhere
        if present is not everywhere:
            columns.append(present.astype(float))
        if all(issubclass(one, int | float | None) and one is not bool for one in types):
            numbers = np.array(values, float)  # None becomes nan
            low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
            if high <= low:
                continue
            if low > 0 and high >= 4 * low:
                numbers, low, high = np.log(numbers), math.log(low), math.log(high)
            columns.append(np.where(present, (numbers - low) / (high - low), 0.5))
        else:
            spelled = [None if value is None else repr(value) for value in values]
            words = sorted({spelling for spelling in spelled if spelling is not None})
            for word in words[1:] if len(words) == 2 else words * (len(words) > 2):
                columns.append(np.array([spelling == word for spelling in spelled], float))
    return np.stack(columns, 1) if columns else np.zeros((len(rows), 0))
