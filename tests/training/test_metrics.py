from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from fervit.training.metrics import majority_f1_macro, metrics_of_counts


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_of_counts_equal_scikit_learns() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        present = rng.choice(7, size=rng.integers(2, 8), replace=False)  # some classes are absent
        labels, predicted = rng.choice(present, size=50), rng.choice(7, size=50)
        if seed % 3 == 0:
            predicted = np.where(rng.random(50) < 0.7, labels, predicted)
        ours = metrics_of_counts(confusion_matrix(labels, predicted, labels=range(7)))
        assert ours["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
        assert ours["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
        assert ours["f1_weighted"] == pytest.approx(f1_score(labels, predicted, average="weighted", zero_division=0))
        assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_the_majority_baseline() -> None:
    counts = np.array([10, 10, 20, 60])
    labels = np.repeat(np.arange(4), counts)
    expected = f1_score(labels, np.full(100, 3), average="macro", labels=range(4), zero_division=0)
    assert majority_f1_macro(counts) == pytest.approx(expected)
