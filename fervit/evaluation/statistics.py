"""Metrics of predictions, computed by scikit-learn, and their calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix, f1_score, recall_score

from fervit.evaluation.results import CalibratedError, DetailedScores, EvaluationResults
from fervit.labels.label_set import SEVEN

CALIBRATION_BINS = 15
SIMULATIONS = 1000


def describe(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str] = SEVEN.classes) -> DetailedScores:
    """Computes the metrics of predictions.

    Args:
        labels: the true classes 0..C-1, integers [n].
        predicted: the predicted classes 0..C-1, integers [n].
        classes: the names of the C classes.
    """
    report = classification_report(
        labels,
        predicted,
        labels=list(range(len(classes))),
        target_names=classes,
        output_dict=True,
        zero_division=0,
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
        "confusion_matrix": confusion(labels, predicted, len(classes)).tolist(),
    }


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts the confusion matrix [C, C] of classes 0..C-1; rows are true classes, columns are predicted classes.

    Raises:
        ValueError: there is a class beyond those.
    """
    if len(labels) and max(labels.max(), predicted.max()) >= n_classes:
        raise ValueError(f"there are classes beyond the {n_classes}")
    matrix: np.ndarray = confusion_matrix(labels, predicted, labels=list(range(n_classes)))
    return matrix


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
    """Computes the calibration of probabilities [n, C] for true classes [n]."""
    confidence = probabilities.max(axis=1).astype(float)
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    bins = _bins(confidence)
    counts, confidences, rights = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS) for weights in (None, confidence, right)
    )
    each = np.maximum(counts, 1)
    return Calibration(counts=counts, confidence=confidences / each, accuracy=rights / each)


def ece_if_calibrated(probabilities: np.ndarray, seed: int = 0) -> CalibratedError:
    """Computes the calibration error that a perfectly calibrated model with these confidences would show.

    It is not 0: the fewer rows, the further the share of right ones in a bin is from their confidence by chance. Each
    prediction is right or wrong by a draw with its confidence, a thousand times (consistency resampling: Broecker and
    Smith, "Increasing the reliability of reliability diagrams", 2007; Vaicenavicius et al., "Evaluating model
    calibration in classification", 2019).

    Args:
        probabilities: the predictions, float [n, C].
        seed: the seed of the draws.
    """
    confidence = probabilities.max(axis=1).astype(float)
    order = np.argsort(_bins(confidence), kind="stable")
    confidence, rng = confidence[order], np.random.default_rng(seed)
    _, starts = np.unique(_bins(confidence), return_index=True)
    errors = []
    for _ in range(SIMULATIONS):
        surplus = (rng.random(len(confidence)) < confidence) - confidence
        errors.append(float(np.abs(np.add.reduceat(surplus, starts)).sum() / len(confidence)))
    return {"mean": float(np.mean(errors)), "quantile_95": float(np.quantile(errors, 0.95))}


def ece_in_words(metrics: EvaluationResults) -> str:
    """Writes the calibration error beside that of a calibrated model, as "ECE 0.140 (a calibrated model: 0.138)"."""
    by_chance = metrics.get("ece_if_calibrated")
    words = f"ECE {metrics['ece']:.3f}"
    return words if by_chance is None else f"{words} (a calibrated model: {by_chance['mean']:.3f})"


def _bins(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence, integers [n]."""
    found: np.ndarray = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    return found
