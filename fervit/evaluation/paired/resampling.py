"""Intervals of differences in F1 between predictions on the same rows, by drawing the rows anew (the bootstrap).

Both predictions of a row are drawn together, so that what is easy or hard in a row cancels out. An interval covers the
choice of the faces for these models; it does not cover what another seed of the training would change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from fervit.evaluation.intervals import CONFIDENCE

RESAMPLES = 1000
AT_ONCE = 250
"""The number of resamples that are computed together, which bounds the memory."""
FEW = 3.0
"""What is added to a variance, in units of 1 / (n + 2)^2, as in `confidence_set`: few rows prove nothing."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """The differences in F1 between one set of predictions and k others on the same n rows; positive if it is better.

    An interval is the difference plus and minus 1.96 standard deviations over the resamples.
    """

    macro: np.ndarray
    """Of the macro-F1, float [k]."""
    macro_95: np.ndarray
    """The 95 % interval [low, high] of each, float [k, 2]."""
    classes: np.ndarray
    """Of the F1 of each class, float [k, C]."""
    classes_95: np.ndarray
    """The 95 % interval of each, float [k, C, 2]."""


def differences(
    labels: np.ndarray,
    predicted: np.ndarray,
    others: Sequence[np.ndarray],
    n_classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Differences:
    """Compares predictions with others on the same rows.

    Args:
        labels: the true classes 0..C-1, integers [n].
        predicted: the predicted classes, integers [n].
        others: the predicted classes of each of the k others, integers [n] each.
        n_classes: the number C of classes.
        resamples: the number of times that the rows are drawn anew.
        seed: the seed of the drawing.
    """
    n, rng = len(labels), np.random.default_rng(seed)
    cells = np.stack([labels * n_classes + said for said in (predicted, *others)])  # [1 + k, n]
    values = _f1(_counts(cells, np.ones((1, n), np.float32), n_classes))[0]
    drawn = []
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size).astype(np.float32)
        f1 = _f1(_counts(cells, weights, n_classes))
        drawn.append(f1[:, :1] - f1[:, 1:])
    found = values[:1] - values[1:]  # [k, C + 1], the macro-F1 last
    deviation = np.sqrt(np.concatenate(drawn).var(axis=0) + FEW / (n + 2) ** 2)
    half = float(norm.ppf(0.5 + CONFIDENCE / 2)) * deviation
    intervals = np.stack([found - half, found + half], axis=-1)
    return Differences(
        macro=found[:, -1], macro_95=intervals[:, -1], classes=found[:, :-1], classes_95=intervals[:, :-1]
    )


def _counts(cells: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts the confusion matrices of all predictions for rows with weights: float [resamples, 1 + k, C, C]."""
    found = []
    for of_model in cells:
        each = np.zeros((len(of_model), n_classes**2), np.float32)
        each[np.arange(len(of_model)), of_model] = 1
        found.append(weights @ each)
    return np.stack(found, axis=1).reshape(len(weights), len(cells), n_classes, n_classes)


def _f1(counts: np.ndarray) -> np.ndarray:
    """The F1 of each class and, last, their mean over the classes that are true or predicted: [..., C + 1]."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    either = (counts.sum(axis=-1) + counts.sum(axis=-2)).astype(float)
    f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    mean = f1.sum(axis=-1, keepdims=True) / np.maximum(1, (either > 0).sum(axis=-1, keepdims=True))
    return np.concatenate([f1, mean], axis=-1)
