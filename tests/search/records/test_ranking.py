from __future__ import annotations

from fervit.search.records.ranking import better_until_it_failed, failures_by_kind, ranked
from fervit.training.failure import Failure
from tests.helpers.records import F1, LOSS, trial


def test_the_best_epoch_is_the_highest_and_of_equal_ones_the_earliest() -> None:
    record = trial(0, [0.1, 0.5, 0.3, 0.5, 0.2])
    assert record.best(F1) == record.epochs[1]
    assert record.best(LOSS) == record.epochs[1]
    assert trial(0, []).best(F1) is None


def test_trials_rank_by_their_best_epoch_wherever_it_is() -> None:
    records = [
        trial(0, [0.1, 0.6, 0.2]),
        trial(1, [0.5, 0.5, 0.5]),
        trial(2, [0.7], "stopped"),
        trial(3, [0.9], "failed"),
    ]
    assert [record.number for record in ranked(records, F1)] == [2, 0, 1]
    assert [record.number for record in ranked(records, LOSS)] == [2, 0, 1]


def test_ties_go_to_the_earlier_epoch_then_to_the_earlier_trial() -> None:
    records = [trial(0, [0.1, 0.5]), trial(1, [0.5, 0.1]), trial(2, [0.5])]
    assert [record.number for record in ranked(records, F1)] == [1, 2, 0]


def test_failures_are_counted_by_kind() -> None:
    records = [
        trial(0, [], "failed", failure=Failure("diverged", "the loss became nan in epoch 1")),
        trial(1, [], "failed", failure=Failure("diverged", "the loss became inf in epoch 2")),
        trial(2, [], "failed", failure=Failure("out of memory", "...")),
        trial(3, [0.1]),
    ]
    assert failures_by_kind(records) == {"diverged": 2, "out of memory": 1}


def test_a_trial_that_was_best_until_it_failed_is_named() -> None:
    chosen = trial(0, [0.4, 0.5])
    late = trial(1, [0.6, 0.55], "failed", failure=Failure("diverged", "the loss became nan"))
    early = trial(2, [0.3], "failed", failure=Failure("out of memory", "of the GPU"))
    assert better_until_it_failed([chosen, late, early], chosen, F1) == (
        "Not ranked: trial 1 reached f1_macro 0.600 at epoch 1, before it failed at epoch 3 (diverged)"
    )
    assert better_until_it_failed([chosen, early], chosen, F1) == ""
