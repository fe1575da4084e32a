"""Validation metrics that are computed from a confusion matrix.

Confusion matrices can be summed over batches and over the ranks of a distributed run; metrics cannot.
"""

from __future__ import annotations

import numpy as np


def metrics_of_counts(confusion: np.ndarray) -> dict[str, float]:
    """Computes metrics of a confusion matrix, as scikit-learn defines them (zero_division=0).

    Args:
        confusion: integers [k, k]; rows are true classes, columns are predicted classes.

    Returns:
        accuracy; f1_macro, over the classes that are true or predicted anywhere; f1_weighted; and balanced_accuracy,
        over the classes that have rows.
    """
    hits = np.diag(confusion).astype(float)
    true = confusion.sum(axis=1)
    total = true.sum()
    f1 = f1_of_classes(confusion)
    recall = hits[true > 0] / true[true > 0]
    return {
        "accuracy": float(hits.sum() / total),
        "f1_macro": _mean_of_present(f1, confusion),
        "f1_weighted": float((f1 * true).sum() / total),
        "balanced_accuracy": float(recall.mean()),
    }


def f1_macro_of_counts(confusion: np.ndarray) -> float:
    """Computes the f1_macro of `metrics_of_counts` alone."""
    return _mean_of_present(f1_of_classes(confusion), confusion)


def _mean_of_present(f1: np.ndarray, confusion: np.ndarray) -> float:
    """The mean F1 over the classes that are true or predicted anywhere."""
    return float(f1[confusion.sum(axis=0) + confusion.sum(axis=1) > 0].mean())


def f1_of_classes(confusion: np.ndarray) -> np.ndarray:
    """Computes the F1 of each class, float [k], of a confusion matrix [k, k]; 0 for a class that does not occur."""
    hits = np.diag(confusion).astype(float)
    either = confusion.sum(axis=1) + confusion.sum(axis=0)
    f1: np.ndarray = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    return f1


def majority_f1_macro(counts: np.ndarray) -> float:
    """Computes the macro-F1 of a model that always predicts the largest class.

    Args:
        counts: the number of rows of each class, integers [k].
    """
    confusion = np.zeros((len(counts), len(counts)))
    confusion[:, np.argmax(counts)] = counts
    return metrics_of_counts(confusion)["f1_macro"]
