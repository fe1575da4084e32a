"""Which trials are stopped before their end: Ray Tune's own schedulers, fed from the sweep's journal.

Fed with the same epochs in the same order, a rule comes to the same decisions and the same rungs. So a resumed sweep
builds it anew from the journal, and a replay needs no cluster.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fervit.search.policy.interfaces import StoppingRule
from fervit.search.records.record import TrialRecord
from fervit.search.space.settings import EarlyStopping
from fervit.training.objective import Metric

GOLDEN = (5**0.5 - 1) / 2


class NeverStops:
    """All trials run to their end."""

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns False: no trial is stopped."""
        return False


def stopping_rule(settings: EarlyStopping, metric: Metric) -> StoppingRule:
    """The rule that a space file asks for."""
    if settings.scheduler == "none":
        return NeverStops()
    return _RaysRule(settings, metric)


class _Trial(NamedTuple):
    """All that Ray Tune's schedulers ask of a trial."""

    trial_id: str


class _RaysRule:
    """Ray Tune's scheduler. Trials are compared by their best value so far, as they will be ranked, and after as many
    epochs at their full learning rate: those of a trial's warm-up do not count."""

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
        """Asks Ray Tune's scheduler whether the trial, which has just reported an epoch, is stopped."""
        scheduler, trial = self._brackets[self._bracket(record.number)], _Trial(record.name)
        if record.name not in self._known:
            self._known.add(record.name)
            scheduler.on_trial_add(None, trial)
        epoch = record.epochs[-1].epoch - math.ceil(record.warmup_epochs)
        result = {"epoch": epoch, "best_value": best_value, "value": value}
        return bool(scheduler.on_trial_result(_NothingPaused, trial, result) == "STOP")

    def _bracket(self, number: int) -> int:
        """Spreads trials over the brackets by their shares, the same for every run of a sweep."""
        place = (number * GOLDEN) % 1
        for i, share in enumerate(self._shares):
            place -= share
            if place < 0:
                return i
        return 0


class _NothingPaused:
    """Stands for the controller, which the median rule asks for trials that wait."""

    @staticmethod
    def get_live_trials() -> list[Any]:
        return []


def _first_rungs(settings: EarlyStopping) -> list[int]:
    """Of each bracket: ASHA has one; in Hyperband's others the first comparison comes later."""
    rungs = [settings.grace_epochs]
    while settings.scheduler == "hyperband" and rungs[-1] * settings.reduction_factor <= settings.max_epochs:
        rungs.append(rungs[-1] * settings.reduction_factor)
    return rungs
