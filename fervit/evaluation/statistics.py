"""Metrics of predictions, by scikit-learn; calibration and bootstrap intervals beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix, f1_score, recall_score

from fervit.emotions import EMOTIONS, NUM_EMOTIONS
from fervit.training.metrics import f1_of_classes, metrics_of_counts

LABELS = list(range(NUM_EMOTIONS))
CALIBRATION_BINS = 15
RESAMPLES, CONFIDENCE = 2000, 0.95


def describe(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Accuracy, F1, balanced accuracy and scikit-learn's classification report, of int arrays [n] with values 0..6.

    A class that is neither true nor predicted anywhere does not count towards f1_macro.
    """
    report = classification_report(
        labels, predicted, labels=LABELS, target_names=EMOTIONS, output_dict=True, zero_division=0
    )
    present = np.unique(labels)
    recall = recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    return {
        "n": len(labels),
        "accuracy": float((labels == predicted).mean()),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "f1_weighted": float(f1_score(labels, predicted, average="weighted", zero_division=0)),
        "balanced_accuracy": float(recall) if len(present) > 1 else None,
        "classification_report": report,
        "confusion_matrix": confusion(labels, predicted).tolist(),
    }


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """int [7, 7], rows true, columns predicted."""
    matrix: np.ndarray = confusion_matrix(labels, predicted, labels=LABELS)
    return matrix


def bootstrap_intervals(counts: np.ndarray, seed: int = 0) -> dict[str, list[float]]:
    """95 % percentile intervals [low, high] of the metrics, and of each class's F1 as `f1_<emotion>`.

    Rows are drawn anew with replacement (Efron, 1979). These metrics depend on the confusion matrix alone, so its cells
    are drawn instead, from the multinomial distribution that this gives them. The interval is of the faces that were
    drawn, for this one model; it does not hold what another seed of the training would change.

    Args:
        counts: int [7, 7], rows true.
        seed: of the drawing.
    """
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=RESAMPLES)
    values: dict[str, list[float]] = {}
    for sample in drawn.reshape(-1, *counts.shape):
        classes = zip(EMOTIONS, f1_of_classes(sample), strict=True)
        for name, value in (*metrics_of_counts(sample).items(), *((f"f1_{emotion}", f1) for emotion, f1 in classes)):
            values.setdefault(name, []).append(float(value))
    return {name: percentile_interval(column) for name, column in values.items()}


def percentile_interval(values: Sequence[float]) -> list[float]:
    """[low, high] that hold 95 % of resampled values between them."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return [low, high]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far confidence says how often a prediction is right (Guo et al., 2017, "On calibration of modern neural
    networks"), over 15 bins of equal width."""

    counts: np.ndarray
    """int [bins]: predictions whose confidence lies in a bin."""
    confidence: np.ndarray
    """float [bins]: their mean confidence; 0 where there are none."""
    accuracy: np.ndarray
    """float [bins]: the share of them that is right."""

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of the two, each bin weighted by its predictions."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())


def calibrate(labels: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Of labels [n] and probabilities [n, 7]."""
    confidence = probabilities.max(axis=1).astype(float)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    counts, confidences, rights = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS) for weights in (None, confidence, right)
    )
    each = np.maximum(counts, 1)
    return Calibration(counts=counts, confidence=confidences / each, accuracy=rights / each)
