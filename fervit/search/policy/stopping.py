"""Early stopping of trials by Ray Tune's schedulers, which get the epochs of the sweep's journal.

With the same epochs in the same order, a scheduler makes the same decisions and has the same rungs. A resumed sweep
therefore builds it anew from the journal, and a replay needs no cluster.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fervit.search.policy.interfaces import StoppingRule
from fervit.search.records.record import TrialRecord
from fervit.search.space.settings import EarlyStopping
from fervit.training.objective import Metric

GOLDEN = (5**0.5 - 1) / 2
"""The inverse of the golden ratio. Its multiples modulo 1 are a low-discrepancy sequence."""


class NeverStops:
    """The rule that never stops a trial."""

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns False."""
        return False


def stopping_rule(settings: EarlyStopping, metric: Metric) -> StoppingRule:
    """Returns the stopping rule for the settings of a space file."""
    if settings.scheduler == "none":
        return NeverStops()
    return _RaysRule(settings, metric)


def decision_epochs(settings: EarlyStopping, warmup_epochs: float) -> tuple[int, ...] | None:
    """Returns the epochs after which the rule may stop a trial: the rungs of all brackets; None for any epoch.

    Args:
        settings: the settings of the space file.
        warmup_epochs: the trial's epochs of warm-up, which do not count.
    """
    if settings.scheduler == "none":
        return ()
    if settings.scheduler == "median":
        return None
    rungs = set()
    for rung in _first_rungs(settings):
        while rung <= settings.max_epochs:
            rungs.add(rung + math.ceil(warmup_epochs))
            rung *= settings.reduction_factor
    return tuple(sorted(rungs))


class _Trial(NamedTuple):
    """The part of a trial that Ray Tune's schedulers use."""

    trial_id: str


class _RaysRule:
    """A scheduler of Ray Tune as a stopping rule.

    ASHA and Hyperband compare trials by their best value so far, by which they are also ranked. The epochs of a trial's
    warm-up do not count, so that trials are compared after the same number of epochs at the full learning rate.
    """

    def __init__(self, settings: EarlyStopping, metric: Metric) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

        mode = "max" if metric.goal == "maximize" else "min"
        self._brackets: list[Any]
        if settings.scheduler == "median":
            self._brackets = [MedianStoppingRule("epoch", "value", mode, grace_period=settings.grace_epochs)]
        else:
            self._brackets = [
                AsyncHyperBandScheduler(
                    time_attr="epoch",
                    metric="best_value",
                    mode=mode,
                    max_t=settings.max_epochs,
                    grace_period=first_rung,
                    reduction_factor=settings.reduction_factor,
                )
                for first_rung in _first_rungs(settings)
            ]
        shares = [settings.reduction_factor**-i for i in range(len(self._brackets))]
        self._shares = [share / sum(shares) for share in shares]
        self._known: set[str] = set()

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns whether Ray Tune's scheduler stops the trial after the epoch that it has just reported."""
        scheduler, trial = self._brackets[self._bracket(record.number)], _Trial(record.name)
        if record.name not in self._known:
            self._known.add(record.name)
            scheduler.on_trial_add(None, trial)
        epoch = record.epochs[-1].epoch - math.ceil(record.warmup_epochs)
        result = {"epoch": epoch, "best_value": best_value, "value": value}
        return bool(scheduler.on_trial_result(_NothingPaused, trial, result) == "STOP")

    def _bracket(self, number: int) -> int:
        """Returns the bracket of a trial. The brackets get trials by their shares, in the same way in every run."""
        place = (number * GOLDEN) % 1
        for i, share in enumerate(self._shares):
            place -= share
            if place < 0:
                return i
        return 0


class _NothingPaused:
    """Replaces Ray Tune's controller, which the median rule asks for paused trials."""

    @staticmethod
    def get_live_trials() -> list[Any]:
        return []


def _first_rungs(settings: EarlyStopping) -> list[int]:
    """Returns the first rung of each bracket, in epochs. ASHA has one bracket; Hyperband has more, with later rungs."""
    rungs = [settings.grace_epochs]
    while settings.scheduler == "hyperband" and rungs[-1] * settings.reduction_factor <= settings.max_epochs:
        rungs.append(rungs[-1] * settings.reduction_factor)
    return rungs
