from __future__ import annotations

from fervit.search.policy.interfaces import StoppingRule
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records.record import TrialRecord
from fervit.search.space.settings import EarlyStopping
from fervit.training.objective import Metric


def record(number: int, warmup_epochs: float = 0.0) -> TrialRecord:
    return TrialRecord(number=number, name=f"trial_{number:04d}", seed=1, params={}, warmup_epochs=warmup_epochs)


def run(rule: StoppingRule, trial: TrialRecord, values: list[float]) -> int:
    """Epochs that a trial gets to have, reporting the values one after the other."""
    for i, value in enumerate(values, start=1):
        trial.epochs.append({"epoch": i})
        if rule.stops(trial, max(values[:i]), value):
            return i
    return len(values)


def asha(**changes: object) -> EarlyStopping:
    return EarlyStopping(**{"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3, **changes})  # type: ignore[arg-type]


def test_asha_stops_at_its_rungs_what_is_not_among_the_best_third() -> None:
    rule = stopping_rule(asha(), Metric())
    assert run(rule, record(0), [0.5] * 9) == 9
    assert run(rule, record(1), [0.6] * 9) == 9
    assert run(rule, record(2), [0.4] * 9) == 1
    assert run(rule, record(3), [0.7, 0.7, 0.1]) == 3  # no worse at the second rung: the best so far counts
    assert run(rule, record(4), [0.9, *[0.9] * 8]) == 9


def test_the_best_value_so_far_counts_not_the_last() -> None:
    rule = stopping_rule(asha(grace_epochs=3), Metric())
    assert run(rule, record(0), [0.1, 0.2, 0.5, *[0.5] * 6]) == 9
    assert run(rule, record(1), [0.1, 0.8, 0.2, *[0.2] * 6]) == 9


def test_epochs_of_the_warm_up_do_not_count() -> None:
    rule = stopping_rule(asha(grace_epochs=3), Metric())
    assert run(rule, record(0), [0.5] * 9) == 9
    assert run(rule, record(1), [0.1] * 9) == 3
    assert run(rule, record(2, warmup_epochs=1.5), [0.1] * 9) == 5


def test_a_loss_is_stopped_where_it_is_high() -> None:
    rule = stopping_rule(asha(), Metric(name="val_loss", goal="minimize"))
    assert run(rule, record(0), [1.0] * 9) == 9
    trial = record(1)
    trial.epochs.append({"epoch": 1})
    assert rule.stops(trial, 2.0, 2.0)


def test_the_median_rule_stops_what_is_below_the_median_of_the_others() -> None:
    rule = stopping_rule(asha(scheduler="median", grace_epochs=2), Metric())
    for number, value in enumerate((0.3, 0.5, 0.7)):
        assert run(rule, record(number), [value] * 9) == 9
    assert run(rule, record(3), [0.4] * 9) == 2
    assert run(rule, record(4), [0.6] * 9) == 9


def test_hyperband_lets_a_part_of_the_trials_run_longer_before_the_first_comparison() -> None:
    rule = stopping_rule(asha(scheduler="hyperband", max_epochs=27), Metric())
    for number in range(40):
        run(rule, record(number), [0.9] * 27)
    lasted = [run(rule, record(number), [0.1] * 27) for number in range(40, 140)]
    assert set(lasted) == {1, 3, 9, 27}
    assert lasted.count(1) > lasted.count(3) > lasted.count(9) > lasted.count(27) > 0


def test_fed_with_the_same_epochs_a_rule_decides_the_same() -> None:
    def decisions(scheduler: str) -> list[int]:
        rule = stopping_rule(asha(scheduler=scheduler), Metric())
        return [run(rule, record(n), [(n * 37 % 100) / 100] * 9) for n in range(30)]

    for scheduler in ("asha", "hyperband", "median"):
        assert decisions(scheduler) == decisions(scheduler)
        assert min(decisions(scheduler)) < 9


def test_without_a_scheduler_every_trial_runs_to_its_end() -> None:
    rule = stopping_rule(asha(scheduler="none"), Metric())
    assert [run(rule, record(n), [1.0 / (n + 1)] * 9) for n in range(5)] == [9] * 5
