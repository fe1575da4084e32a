"""Which of several models may be the best, at a stated rate of error whatever their number.

A model that is called worse must be worse: if all models are equally good, one of them is called worse in at most 5 %
of the test sets. Comparing each with the best of the same rows at 5 % does not do that, since that best is partly lucky
and every further model is a further chance of error.

Paper: Hansen, Lunde and Nason, "The model confidence set" (Econometrica, 2011), with the range statistic. It is the
stepwise form of comparing with the best (Hsu, "Multiple comparisons", 1996): the largest difference among all models
is compared with what resampling the rows, for all models together, makes of it; if it is too large, the worst model is
out, and the rest are compared anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from fervit.evaluation.intervals import CONFIDENCE

RESAMPLES = 2000
AT_ONCE = 250
"""The number of resamples that are computed together, which bounds the memory."""
FEW = 3.0
"""What is added to a variance, in units of 1 / (n + 2)^2, since differences on a handful of rows prove nothing.

It is what half a row in each cell of two models' table of rights and wrongs adds at most (Agresti and Min, "Effects and
non-effects of paired identical observations", 2005).
"""


@dataclass(frozen=True, kw_only=True)
class ConfidenceSet:
    """The comparison of k models on the same rows by macro-F1."""

    p: np.ndarray
    """For each model the p-value of the hypothesis that it is among the best of them, float [k]."""
    behind: np.ndarray
    """The 95 % intervals [k, 2] of the best value's lead over each model, which hold for all models together."""

    @property
    def out(self) -> np.ndarray:
        """Whether each model is significantly worse than another one, bool [k]."""
        worse: np.ndarray = self.p < 1 - CONFIDENCE
        return worse


def confidence_set(
    labels: np.ndarray, predicted: Sequence[np.ndarray], *, resamples: int = RESAMPLES, seed: int = 0
) -> ConfidenceSet:
    """Finds the models that may be the best by macro-F1.

    Args:
        labels: the true classes 0..C-1, integers [n].
        predicted: the predicted classes of each of the k models on the same rows, integers [n] each.
        resamples: the number of times that the rows are drawn anew.
        seed: the seed of the drawing.
    """
    n, k = len(labels), len(predicted)
    said = np.stack(predicted)
    rows, row_of = np.unique(np.column_stack([labels, *predicted]), axis=0, return_inverse=True)
    values = _f1_macro(rows, np.bincount(row_of.ravel())[None, :])[0]
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        places = row_of.ravel()[rng.integers(0, n, (size, n))] + len(rows) * np.arange(size)[:, None]
        drawn.append(_f1_macro(rows, np.bincount(places.ravel(), minlength=size * len(rows)).reshape(size, -1)))
    centred = np.concatenate(drawn) - values
    variance = _variances(centred)
    lead = values[:, None] - values[None, :]  # of the model of a row over that of a column
    larger = np.sqrt(variance + FEW / (n + 2) ** 2)
    different = (said[:, None, :] != said[None, :, :]).sum(axis=2)
    p = _eliminate(lead / larger, centred, np.sqrt(variance), np.exp2(1.0 - different))
    best, normal = int(values.argmax()), float(norm.ppf(0.5 + CONFIDENCE / 2))
    critical = max(normal, float(np.quantile(_range(centred, np.sqrt(variance), np.arange(k)), CONFIDENCE)))
    half = critical * larger[best]
    return ConfidenceSet(p=p, behind=np.stack([lead[best] - half, lead[best] + half], axis=1))


def _eliminate(leads: np.ndarray, centred: np.ndarray, deviations: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Takes out the worst model until one is left, and returns the p-value of each model.

    Args:
        leads: the standardised lead of each model over each other one, float [k, k].
        centred: the resampled values minus the observed ones, float [resamples, k].
        deviations: the standard deviations of the differences of the resampled values, float [k, k].
        least: the least p-value that the rows allow on which two models differ, float [k, k]: that of the sign test
            if all of them speak for one. A handful of rows may look alike in every resample.
    """
    p, left, highest = np.ones(len(leads)), np.arange(len(leads)), 0.0
    while len(left) > 1:
        among = leads[np.ix_(left, left)]
        worst = int(among.max(axis=0).argmax())
        ahead = int(among[:, worst].argmax())
        by_chance = _range(centred, deviations, left)
        share = (1 + int((by_chance >= among[ahead, worst]).sum())) / (1 + len(by_chance))
        highest = min(1.0, max(highest, share, float(least[left[ahead], left[worst]])))
        p[left[worst]] = highest
        left = np.delete(left, worst)
    return p


def _range(centred: np.ndarray, deviations: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The largest standardised difference of any two of the models that are left, in each resample."""
    found = np.zeros(len(centred))
    for i, one in enumerate(left):
        others = left[i + 1 :]
        some = others[deviations[one, others] > 0]
        if len(some):
            distance = np.abs(centred[:, [one]] - centred[:, some]) / deviations[one, some]
            np.maximum(found, distance.max(axis=1), out=found)
    return found


def _variances(centred: np.ndarray) -> np.ndarray:
    """The variances of the differences of the resampled values of any two models, float [k, k]."""
    covariance = np.atleast_2d(np.cov(centred, rowvar=False))
    own = np.diag(covariance)
    found: np.ndarray = np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0)
    found[found < 1e-14] = 0.0
    return found


def _f1_macro(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Computes the macro-F1 of all models for rows with weights.

    Args:
        rows: a true class and the predicted class of each model, integers [m, 1 + k].
        weights: how often each row occurs, integers [resamples, m].

    Returns:
        The values, float [resamples, k].
    """
    k, n_classes = rows.shape[1] - 1, int(rows.max()) + 1
    of_class = rows[:, :, None] == np.arange(n_classes)
    true, said = of_class[:, :1], of_class[:, 1:]
    each = np.concatenate([true, said, said & true], axis=1).reshape(len(rows), -1).astype(np.float32)
    sums = (weights.astype(np.float32) @ each).reshape(len(weights), 1 + 2 * k, n_classes).astype(float)
    either, hits = sums[:, :1] + sums[:, 1 : 1 + k], sums[:, 1 + k :]
    f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    found: np.ndarray = f1.sum(axis=2) / (either > 0).sum(axis=2)
    return found
