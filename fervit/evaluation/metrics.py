"""Metrics of predictions, by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import balanced_accuracy_score, classification_report, confusion_matrix, f1_score

from fervit.emotions import EMOTIONS, NUM_EMOTIONS

LABELS = list(range(NUM_EMOTIONS))


def describe(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Accuracy, F1, balanced accuracy and scikit-learn's classification report, of int arrays [n] with values 0..6.

    A class that is neither true nor predicted anywhere does not count towards f1_macro.
    """
    report = classification_report(
        labels, predicted, labels=LABELS, target_names=EMOTIONS, output_dict=True, zero_division=0
    )
    recall_mean = balanced_accuracy_score(labels, predicted) if len(np.unique(labels)) > 1 else float("nan")
    return {
        "n": len(labels),
        "accuracy": float((labels == predicted).mean()),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "f1_weighted": float(f1_score(labels, predicted, average="weighted", zero_division=0)),
        "balanced_accuracy": None if np.isnan(recall_mean) else float(recall_mean),
        "classification_report": report,
        "confusion_matrix": confusion(labels, predicted).tolist(),
    }


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """int [7, 7], rows true, columns predicted."""
    matrix: np.ndarray = confusion_matrix(labels, predicted, labels=LABELS)
    return matrix
