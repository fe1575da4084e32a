"""Paired intervals of differences in F1."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from fervit.evaluation.paired.resampling import differences


def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and the predictions of two models that agree on most rows; the first is right more often."""
    labels = rng.integers(0, 7, n)
    luck = rng.random(n)
    first = np.where(luck < 0.62, labels, rng.integers(0, 7, n))
    second = np.where(luck < 0.55, labels, np.where(luck < 0.62, rng.integers(0, 7, n), first))
    return labels, first, second


def test_the_differences_are_those_of_scikit_learn() -> None:
    labels, first, second = draw(np.random.default_rng(0), 400)
    found = differences(labels, first, [second, first], 7)
    one, other = (f1_score(labels, said, average=None) for said in (first, second))
    np.testing.assert_allclose(found.macro, [one.mean() - other.mean(), 0], atol=1e-12)
    np.testing.assert_allclose(found.classes[0], one - other, atol=1e-12)
    assert found.macro_95[1, 1] < 0.01  # the same predictions differ nowhere
    assert (found.classes_95[0, :, 0] < found.classes[0]).all()


def test_the_paired_interval_holds_the_truth_in_95_of_100_and_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(1)
    labels, first, second = draw(rng, 40_000)
    truth = float(differences(labels[:20_000], first[:20_000], [second[:20_000]], 7, resamples=1).macro[0])
    held, widths = [], []
    for _ in range(100):
        some = draw(rng, 300)
        low, high = differences(*some[:2], [some[2]], 7, resamples=200).macro_95[0]
        held.append(low <= truth <= high)
        widths.append(high - low)
    assert 0.89 <= np.mean(held) <= 1.0
    assert np.mean(widths) < 0.12  # two F1 of 300 rows alone, 0.055 wide to each side, would give 0.16
