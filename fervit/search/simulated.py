"""Runs a sweep on recorded learning curves in virtual time, in place of training on Ray Tune. Does not use Ray.

The ledger, the sampler and the stopping rule are those of a real sweep. They get the same reports in the same order as
from Ray Tune (`workers/tuner.py`): the sampler is asked for one trial more than there are slots, and trials run side by
side, where each epoch lasts as many virtual seconds as it took when it was recorded.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.records.report import TrialReport
from fervit.training.epoch import EpochResult
from fervit.training.objective import Metric

Curve = Sequence[EpochResult]
"""The results of all epochs of a training, in order."""


class VirtualClock:
    """A clock that shows the time to which it was last set. Calling it returns that time in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Running(NamedTuple):
    """A trial that occupies a slot. Such trials are ordered by the time at which their next epoch ends."""

    due: float
    order: int
    name: str
    curve: Curve
    done: int
    """The number of epochs that the trial has reported."""


def run_simulated(
    ledger: Ledger,
    curve_of: Callable[[Planned], Curve],
    clock: VirtualClock,
    *,
    slots: int,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Runs all trials of the ledger's source, as `run_trials` does on a cluster.

    Args:
        ledger: plans the trials and records them. Its clock must be `clock`.
        curve_of: returns the epochs that a trial will report, at least one.
        clock: is set to the time of each report.
        slots: how many trials run at once.
        is_over: returns whether the sweep ends now. The trials that still run are then stopped.
    """
    pending: list[Planned] = []
    running: list[_Running] = []
    started = 0
    while not is_over():
        while ledger.n_begun <= slots and (planned := ledger.begin()) is not None:
            pending.append(planned)
        while pending and len(running) < slots:
            planned = pending.pop(0)
            curve = curve_of(planned)
            ledger.placed(planned.name)
            heapq.heappush(running, _Running(clock.now + curve[0].seconds, started, planned.name, curve, 0))
            started += 1
        if not running:
            break
        trial = heapq.heappop(running)
        clock.now = trial.due
        report = report_of(trial.curve, trial.done, ledger.space.metric)
        stopped = ledger.report(trial.name, report)
        if report.finished:
            ledger.end(trial.name)
        elif not stopped:
            due = clock.now + trial.curve[trial.done + 1].seconds
            heapq.heappush(running, trial._replace(due=due, done=trial.done + 1))
    ledger.end_all()


def report_of(curve: Curve, i: int, metric: Metric) -> TrialReport:
    """Returns the report of a trial with this curve after its i-th epoch, counted from 0."""
    best = metric.best(curve[: i + 1])
    assert best is not None
    return TrialReport(epoch=curve[i], best_value=metric.value(best), finished=i + 1 == len(curve))
