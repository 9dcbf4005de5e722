"""What cuts that were not measured are worth, from those that were: a regression on widths and depths.

Within one supernet accuracy is a smooth function of the shape. So a Bayesian linear regression on squares and products
of the logarithms is enough; how far it is off is seen by leaving a fifth of the measurements out in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slimfront.evaluators.supernet.screening import Numbers, Screening

LEAST = 20  # measurements that a prediction needs
_FOLDS = 5

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Predictor:
    """Predicts accuracies of cuts.

    Attributes:
        error: Root of the mean squared error on measurements that it has not seen, a share.
    """

    error: float
    _model: Any

    @classmethod
    def of(cls, screening: Screening) -> Predictor | None:
        """From at least LEAST measurements; None: there are fewer."""
        from sklearn.linear_model import BayesianRidge
        from sklearn.model_selection import KFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        if len(screening.measured) < LEAST:
            return None
        features = _features(list(screening.measured))
        accuracies = np.array([found.accuracy for found in screening.measured.values()])
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), BayesianRidge())
        folds = KFold(_FOLDS, shuffle=True, random_state=0)
        unseen = cross_val_predict(model, features, accuracies, cv=folds)
        return cls(float(np.sqrt(((unseen - accuracies) ** 2).mean())), model.fit(features, accuracies))

    def accuracies(self, shapes: Sequence[Numbers]) -> Array:
        """Of each shape the accuracy of its cut."""
        found: Array = self._model.predict(_features(shapes))
        return np.clip(found, 0.0, 1.0)


def _features(shapes: Sequence[Numbers]) -> Array:
    found: Array = np.log(np.array(shapes, float))
    return found
