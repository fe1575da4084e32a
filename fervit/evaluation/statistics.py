"""Metrics of predictions, computed by scikit-learn, with their bootstrap intervals and the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix, f1_score, recall_score

from fervit.emotions import EMOTIONS, NUM_EMOTIONS
from fervit.evaluation.results import DetailedScores
from fervit.training.metrics import f1_of_classes, metrics_of_counts

LABELS = list(range(NUM_EMOTIONS))
CALIBRATION_BINS = 15
RESAMPLES, CONFIDENCE = 2000, 0.95


def describe(labels: np.ndarray, predicted: np.ndarray) -> DetailedScores:
    """Computes the metrics of predictions.

    Args:
        labels: the true classes 0..6, integers [n].
        predicted: the predicted classes 0..6, integers [n].
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
    """Counts the confusion matrix [7, 7] of classes 0..6; rows are true classes, columns are predicted classes."""
    matrix: np.ndarray = confusion_matrix(labels, predicted, labels=LABELS)
    return matrix


def bootstrap_intervals(counts: np.ndarray, seed: int = 0) -> dict[str, list[float]]:
    """Computes 95 % percentile intervals [low, high] of the metrics, and of the F1 of each class as `f1_<emotion>`.

    Rows are resampled with replacement (Efron, "Bootstrap methods", 1979). Since these metrics depend on the confusion
    matrix alone, its cells are resampled from the multinomial distribution that follows from this. An interval covers
    the choice of the faces for this one model. It does not cover what another seed of the training would change.

    Args:
        counts: the confusion matrix, integers [7, 7]; rows are true classes.
        seed: the seed of the resampling.
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
    """Computes the interval [low, high] that holds the central 95 % of resampled values."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return [low, high]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The confidence and the accuracy of predictions in 15 bins of equal width.

    Paper: Guo et al., "On calibration of modern neural networks" (ICML 2017).
    """

    counts: np.ndarray
    """The number of predictions whose confidence lies in each bin, integers [bins]."""
    confidence: np.ndarray
    """The mean confidence in each bin, float [bins]; 0 in an empty bin."""
    accuracy: np.ndarray
    """The share of correct predictions in each bin, float [bins]; 0 in an empty bin."""

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy, weighted by the counts."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())


def calibrate(labels: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Computes the calibration of probabilities [n, 7] for true classes [n]."""
    confidence = probabilities.max(axis=1).astype(float)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    counts, confidences, rights = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS) for weights in (None, confidence, right)
    )
    each = np.maximum(counts, 1)
    return Calibration(counts=counts, confidence=confidences / each, accuracy=rights / each)
