from __future__ import annotations

import math
from typing import NamedTuple, get_args, get_type_hints

import numpy as np
import pytest

from fervit.search.policy.interfaces import StoppingRule
from fervit.search.policy.stopping import decision_epochs, stopping_rule
from fervit.search.records.record import TrialRecord
from fervit.search.space.settings import EarlyStopping
from fervit.training.objective import Metric
from tests.helpers.epochs import epoch_result


def record(number: int, warmup_epochs: float = 0.0) -> TrialRecord:
    return TrialRecord(number=number, name=f"trial_{number:04d}", seed=1, params={}, warmup_epochs=warmup_epochs)


def run(rule: StoppingRule, trial: TrialRecord, values: list[float]) -> int:
    """Returns the number of epochs until a trial is stopped, if it reports these values one after the other."""
    for i, value in enumerate(values, start=1):
        trial.epochs.append(epoch_result(i))
        if rule.stops(trial, max(values[:i]), value):
            return i
    return len(values)


def asha(**changes: object) -> EarlyStopping:
    return EarlyStopping(**{"max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3, **changes})  # type: ignore[arg-type]


RULES = get_args(get_type_hints(EarlyStopping)["scheduler"])
VALUES = [[(n * 37 % 100) / 100 + 0.01 * (epoch * n % 7) for epoch in range(9)] for n in range(30)]
"""The values of thirty trials with nine epochs each, many of which fall behind."""


def decisions(rule: StoppingRule, trials: list[TrialRecord], values: list[list[float]]) -> list[int]:
    """Returns the number of epochs until each trial is stopped, if all trials report in turn, epoch by epoch."""
    lasted = [len(value) for value in values]
    for i in range(len(values[0])):
        for n, trial in enumerate(trials):
            if i < lasted[n]:
                trial.epochs.append(epoch_result(i + 1))
                if rule.stops(trial, max(values[n][: i + 1]), values[n][i]):
                    lasted[n] = i + 1
    return lasted


@pytest.mark.parametrize("scheduler", RULES)
class TestEveryRule:
    """The contract of every stopping rule."""

    def test_fed_with_the_same_epochs_it_decides_the_same(self, scheduler: str) -> None:
        def once() -> list[int]:
            rule = stopping_rule(asha(scheduler=scheduler), Metric())
            return decisions(rule, [record(n) for n in range(30)], VALUES)

        assert once() == once()
        assert (min(once()) < 9) == (scheduler not in ("none", "thaw"))

    @pytest.mark.parametrize(("grace", "factor", "warmup"), [(1, 3, 0.0), (1, 2, 1.5), (2, 2, 0.0), (3, 3, 2.0)])
    def test_it_stops_a_trial_only_after_the_epochs_that_it_is_known_to_decide_after(
        self, scheduler: str, grace: int, factor: int, warmup: float
    ) -> None:
        settings = asha(scheduler=scheduler, grace_epochs=grace, reduction_factor=factor)
        known = decision_epochs(settings, warmup)
        trials = [record(n, warmup) for n in range(30)]
        lasted = decisions(stopping_rule(settings, Metric()), trials, VALUES)
        stopped = {epochs for epochs in lasted if epochs < 9}
        if known is None:
            assert scheduler == "median"
        else:
            assert stopped <= set(known)
            assert len(known) < 9
        assert stopped or scheduler in ("none", "thaw")

    def test_one_that_is_fed_anew_up_to_some_moment_goes_on_as_if_never_away(self, scheduler: str) -> None:
        """A resumed sweep passes the events of its journal to a new rule."""
        whole = stopping_rule(asha(scheduler=scheduler), Metric())
        expected = [run(whole, record(n), VALUES[n]) for n in range(30)]
        for moment in (1, 11, 29):
            again = stopping_rule(asha(scheduler=scheduler), Metric())
            before = [run(again, record(n), VALUES[n]) for n in range(moment)]
            assert before + [run(again, record(n), VALUES[n]) for n in range(moment, 30)] == expected

    @pytest.mark.parametrize("grace", [1, 3, 5])
    def test_no_trial_is_stopped_before_its_grace_is_over(self, scheduler: str, grace: int) -> None:
        rule = stopping_rule(asha(scheduler=scheduler, grace_epochs=grace), Metric())
        assert min(decisions(rule, [record(n) for n in range(30)], VALUES)) >= grace

    def test_epochs_of_the_warm_up_do_not_count(self, scheduler: str) -> None:
        """With a warm-up, a trial is stopped later by as many epochs as the warm-up has."""
        for number in range(3, 12):
            lasted = []
            for warmup in (0, 1.5):
                rule = stopping_rule(asha(scheduler=scheduler, grace_epochs=2), Metric())
                for n, value in enumerate((0.3, 0.5, 0.7)):
                    run(rule, record(n), [value] * 9)
                lasted.append(run(rule, record(number, warmup_epochs=warmup), [0.1] * 20))
            assert lasted[1] == lasted[0] + (2 if lasted[0] < 20 else 0)

    def test_a_loss_is_judged_the_other_way_round(self, scheduler: str) -> None:
        """With negated values, a rule that minimises decides as a rule that maximises."""
        highest = stopping_rule(asha(scheduler=scheduler), Metric())
        lowest = stopping_rule(asha(scheduler=scheduler), Metric(name="val_loss", goal="minimize"))
        for n, values in enumerate(VALUES):
            one, other = record(n), record(n)
            for i, value in enumerate(values, start=1):
                one.epochs.append(epoch_result(i))
                other.epochs.append(epoch_result(i))
                best = max(values[:i])
                stopped = highest.stops(one, best, value)
                assert lowest.stops(other, -best, -value) == stopped
                if stopped:
                    break


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
    trial.epochs.append(epoch_result(1))
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


def test_without_a_scheduler_every_trial_runs_to_its_end() -> None:
    rule = stopping_rule(asha(scheduler="none"), Metric())
    assert [run(rule, record(n), [1.0 / (n + 1)] * 9) for n in range(5)] == [9] * 5


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("metric", [Metric(), Metric(name="val_loss", goal="minimize")])
def test_the_median_rule_decides_as_ray_tune_does(metric: Metric, noise: float) -> None:
    """On curves that cross, with warm-ups of several lengths, of trials that report in turn and that come later."""
    from ray.tune.schedulers import MedianStoppingRule

    class Named(NamedTuple):
        trial_id: str

    class NothingPaused:
        @staticmethod
        def get_live_trials() -> list[str]:
            return []

    rng = np.random.default_rng(3)
    ours = stopping_rule(asha(scheduler="median", max_epochs=30, grace_epochs=4), metric)
    mode = "max" if metric.goal == "maximize" else "min"
    theirs = MedianStoppingRule("epoch", "value", mode, grace_period=4)
    trials = [record(n, warmup_epochs=float(rng.choice([0, 0, 1.5, 3]))) for n in range(60)]
    curves = [metric.sign * rng.random() * (1 - np.exp(-np.arange(1, 31) / 6)) for _ in trials]
    running, waiting, decided = trials[:8], trials[8:], {True: 0, False: 0}
    while running:
        trial = running[int(rng.integers(len(running)))]
        value = float(curves[trial.number][len(trial.epochs)] + rng.normal(0, noise))
        trial.epochs.append(epoch_result(len(trial.epochs) + 1, f1_macro=value, val_loss=value))
        best = trial.best_value(metric)
        assert best is not None
        row = {"epoch": len(trial.epochs) - math.ceil(trial.warmup_epochs), "value": value}
        expected = theirs.on_trial_result(NothingPaused, Named(trial.name), row) == "STOP"
        assert ours.stops(trial, best, value) == expected
        decided[expected] += 1
        if expected or len(trial.epochs) == 30:
            running.remove(trial)
            running += [waiting.pop(0)] if waiting else []
    assert min(decided.values()) > 10
