"""Early stopping of trials: ASHA and Hyperband by Ray Tune's scheduler, and the median rule.

With the same epochs in the same order, a rule makes the same decisions and has the same rungs. A resumed sweep
therefore builds it anew from the journal, and a replay needs no cluster.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from contextlib import suppress
from typing import Any, NamedTuple

from fervit.search.policy.interfaces import StoppingRule
from fervit.search.policy.thaw import looks
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

    def reason(self, name: str) -> str:
        """Returns ""."""
        return ""


def stopping_rule(settings: EarlyStopping, metric: Metric) -> StoppingRule:
    """Returns the stopping rule for the settings of a space file. With thaw, trials pause in its place (`thaw.py`)."""
    if settings.scheduler in ("none", "thaw"):
        return NeverStops()
    return MedianRule(settings, metric) if settings.scheduler == "median" else _RaysRule(settings, metric)


class MedianRule:
    """Stops a trial whose best value is worse than the median of the running means of the others that came as far.

    The rule of Golovin et al. (2017) as Ray Tune's MedianStoppingRule has it, with the same decisions; that one reads
    all results of all trials for each report, this one keeps a mean for each trial and a sorted list for each epoch.
    Means begin with the last epoch of grace. The epochs of a trial's warm-up do not count.
    """

    LEAST = 3
    """The number of other trials that must have come as far."""

    def __init__(self, settings: EarlyStopping, metric: Metric) -> None:
        self._grace, self._sign = settings.grace_epochs, metric.sign
        self._means: dict[str, tuple[float, int]] = {}
        """The mean of each trial's values since its grace, and the number of these values."""
        self._at: defaultdict[int, list[float]] = defaultdict(list)
        """The means of all trials at each epoch, lowest first. A higher one is always better here."""
        self._reasons: dict[str, str] = {}

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns whether a trial is stopped after the epoch that it has just reported."""
        epoch = _counted(record)
        if epoch < self._grace:
            return False
        mean, n = self._means.get(record.name, (0.0, 0))
        mean += (self._sign * value - mean) / (n + 1)
        self._means[record.name] = mean, n + 1
        others = self._at[epoch]
        half = len(others) // 2
        worse = False
        if len(others) >= self.LEAST:
            median = (others[half] + others[half - (len(others) % 2 == 0)]) / 2
            worse = self._sign * best_value < median
            if worse:
                means = f"the median of the means of {len(others)} others"
                self._reasons[record.name] = f"{best_value:.4g} is worse than {self._sign * median:.4g}, {means}"
        if math.isfinite(mean):
            bisect.insort(others, mean)
        return worse

    def reason(self, name: str) -> str:
        """Returns why a trial was stopped."""
        return self._reasons.get(name, "")


def decision_epochs(settings: EarlyStopping, warmup_epochs: float) -> tuple[int, ...] | None:
    """Returns the epochs after which the rule may stop or pause a trial: the rungs of all brackets; None for any epoch.

    Args:
        settings: the settings of the space file.
        warmup_epochs: the trial's epochs of warm-up, which do not count.
    """
    if settings.scheduler == "none":
        return ()
    if settings.scheduler == "thaw":
        return looks(settings.max_epochs)
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
    """ASHA or Hyperband of Ray Tune as a stopping rule.

    They compare trials by their best value so far, by which trials are also ranked. The epochs of a trial's warm-up do
    not count, so that trials are compared after the same number of epochs at the full learning rate.
    """

    def __init__(self, settings: EarlyStopping, metric: Metric) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._brackets: list[Any] = [
            AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="best_value",
                mode="max" if metric.goal == "maximize" else "min",
                max_t=settings.max_epochs,
                grace_period=first_rung,
                reduction_factor=settings.reduction_factor,
            )
            for first_rung, _ in brackets(settings)
        ]
        self._shares = [share for _, share in brackets(settings)]
        self._known: set[str] = set()
        self._factor, self._reasons = settings.reduction_factor, dict[str, str]()

    def stops(self, record: TrialRecord, best_value: float, value: float) -> bool:
        """Returns whether Ray Tune's scheduler stops the trial after the epoch that it has just reported."""
        scheduler, trial = self._brackets[self._bracket(record.number)], _Trial(record.name)
        if record.name not in self._known:
            self._known.add(record.name)
            scheduler.on_trial_add(None, trial)
        result = {"epoch": _counted(record), "best_value": best_value}
        stops = bool(scheduler.on_trial_result(None, trial, result) == "STOP")
        if stops and result["epoch"] < scheduler._max_t:
            with suppress(AttributeError, LookupError, StopIteration, TypeError, ValueError):  # another version of Ray
                self._reasons[record.name] = self._worse(scheduler, trial, result["epoch"], best_value)
        return stops

    def reason(self, name: str) -> str:
        """Returns why a trial was stopped."""
        return self._reasons.get(name, "")

    def _worse(self, scheduler: Any, trial: _Trial, epoch: float, best_value: float) -> str:
        """Says what the best of the others reached at the rung that a trial has just come to."""
        bracket, sign = scheduler._trial_info[trial.trial_id], scheduler._metric_op
        values: dict[str, float] = next(
            (at for rung, at in bracket._rungs if epoch >= rung and trial.trial_id in at), {}
        )
        others = {name: value for name, value in values.items() if name != trial.trial_id}
        needed = bracket.cutoff(others)
        share = f"the best of {len(others)} others reach (1 in {self._factor})"
        return f"{best_value:.4g} is worse than {sign * needed:.4g}, which {share}"

    def _bracket(self, number: int) -> int:
        """Returns the bracket of a trial. The brackets get trials by their shares, in the same way in every run."""
        place = (number * GOLDEN) % 1
        for i, share in enumerate(self._shares):
            place -= share
            if place < 0:
                return i
        return 0


def _counted(record: TrialRecord) -> int:
    """Returns the last epoch of a trial, counted from the end of its warm-up."""
    return record.epochs[-1].epoch - math.ceil(record.warmup_epochs)


def brackets(settings: EarlyStopping) -> list[tuple[int, float]]:
    """Returns (first rung in epochs, share of the trials) of each bracket of ASHA, which has one, or Hyperband."""
    rungs = _first_rungs(settings)
    shares = [settings.reduction_factor**-i for i in range(len(rungs))]
    return [(rung, share / sum(shares)) for rung, share in zip(rungs, shares, strict=True)]


def _first_rungs(settings: EarlyStopping) -> list[int]:
    """Returns the first rung of each bracket, in epochs. ASHA has one bracket; Hyperband has more, with later rungs."""
    rungs = [settings.grace_epochs]
    while settings.scheduler == "hyperband" and rungs[-1] * settings.reduction_factor <= settings.max_epochs:
        rungs.append(rungs[-1] * settings.reduction_factor)
    return rungs
