"""95 % intervals of metrics, which hold where a bootstrap breaks down: 20 of 20 right is not "1 to 1".

Each ingredient is a share of rows, for which Wilson's interval holds at any number of rows (Wilson, "Probable
inference", 1927; Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", 2001). The F1 of a class is
2p / (1 + p) of the share p of the rows that are truly of that class and said to be, among those that are either (Hand,
Christen and Kirielle, "F*", 2021), so that it has such an interval too. Means over classes combine the limits of the
classes (Zou and Donner, "Construction of confidence limits", 2008), with the correlations of the classes' values by the
delta method: what one class loses, another often gains wrongly.

Coverage in simulations of seven classes, some as in FER2013 and some even, accuracy 0.6 to 0.97, is in
benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from fervit.labels.label_set import SEVEN
from fervit.training.metrics import f1_of_classes, metrics_of_counts

CONFIDENCE = 0.95
OF_FACES = (
    "The interval of a result on {split} holds what this one model reaches on ever more faces of the same kind, and "
    "not what another seed of its training, another camera or other annotators would change."
)
"""What these intervals hold and do not hold, for the reader of a report."""


def wilson(hits: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes Wilson's 95 % intervals of shares.

    Args:
        hits: the number of rows that count, of each share.
        rows: the number of rows, of each share. Where it is 0 nothing is known, and the interval is 0 to 1.

    Returns:
        The lower and the upper limits.
    """
    z = norm.ppf(0.5 + CONFIDENCE / 2)
    n = np.maximum(rows, 1)
    share = hits / n
    centre = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    known = rows > 0
    return np.where(known & (hits > 0), low, 0.0), np.where(known & (hits < rows), high, 1.0)


def intervals_of(counts: np.ndarray, classes: Sequence[str] = SEVEN.classes) -> dict[str, list[float]]:
    """Computes the 95 % intervals [low, high] of the metrics, and of the F1 of each class as `f1_<class>`.

    An interval covers the choice of the faces for this one model. It does not cover what another seed of the training
    would change.

    Args:
        counts: the confusion matrix, integers [C, C]; rows are true classes.
        classes: their names.
    """
    values, f1 = metrics_of_counts(counts), f1_of_classes(counts)
    hits, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    low, high = (2 * limit / (1 + limit) for limit in wilson(hits, true + said - hits))
    recall_low, recall_high = wilson(hits, true)
    present, of_rows = (true + said > 0).astype(float), (true > 0).astype(float)
    alike, apart = _correlations_of_f1(counts), np.eye(len(counts))
    recall = np.divide(hits, true, out=np.zeros(len(true)), where=true > 0)
    accuracy_low, accuracy_high = wilson(hits.sum(), true.sum())
    found = {
        "accuracy": [float(accuracy_low), float(accuracy_high)],
        "f1_macro": _of_mean(values["f1_macro"], f1, low, high, present / present.sum(), alike),
        "f1_weighted": _of_mean(values["f1_weighted"], f1, low, high, true / true.sum(), alike),
        "balanced_accuracy": _of_mean(
            values["balanced_accuracy"], recall, recall_low, recall_high, of_rows / of_rows.sum(), apart
        ),
    }
    return found | {f"f1_{name}": [float(low[i]), float(high[i])] for i, name in enumerate(classes)}


def _of_mean(
    mean: float,
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    weights: np.ndarray,
    correlations: np.ndarray,
) -> list[float]:
    """Combines the limits of the classes to those of a weighted mean over them (MOVER; Zou and Donner, 2008)."""
    below, above = weights * (values - low), weights * (high - values)
    down = np.sqrt(max(0.0, float(below @ correlations @ below)))
    up = np.sqrt(max(0.0, float(above @ correlations @ above)))
    return [max(0.0, mean - down), min(1.0, mean + up)]


def _correlations_of_f1(counts: np.ndarray) -> np.ndarray:
    """Estimates the correlations [C, C] of the classes' F1 by the delta method.

    A row of true class t that is said to be p moves the F1 of class c by its influence, which depends on t and p alone.
    """
    k, n = len(counts), counts.sum()
    f1, either = f1_of_classes(counts), counts.sum(axis=0) + counts.sum(axis=1)
    influence = np.zeros((k, k, k))
    for c in np.flatnonzero(either):
        influence[c, c, :] -= f1[c]
        influence[c, :, c] -= f1[c]
        influence[c, c, c] += 2
        influence[c] *= n / either[c]
    of_cells = influence.reshape(k, k * k)
    covariance = (of_cells * counts.ravel()) @ of_cells.T / n
    deviation = np.sqrt(np.diag(covariance))
    scale = np.outer(deviation, deviation)
    found: np.ndarray = np.divide(covariance, scale, out=np.zeros((k, k)), where=scale > 1e-12)
    np.fill_diagonal(found, 1.0)
    return found
