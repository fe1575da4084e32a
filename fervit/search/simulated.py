"""Trials that are not trained but read off recorded curves, in virtual time: the other backend of a sweep. No Ray.

The ledger, the sampler and the stopping rule are those of a real sweep, and they hear the same reports in the same
order as from Ray Tune (`workers/tuner.py`): one trial more than there are slots is asked for ahead of time, and trials
run side by side by the seconds that their epochs took.
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
"""All epochs of a training, in order."""


class VirtualClock:
    """A clock that stands still until it is set; a call gives its seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Running(NamedTuple):
    """A trial in a slot; ordered by when its next epoch ends."""

    due: float
    order: int
    name: str
    curve: Curve
    done: int
    """Epochs that it has reported."""


def run_simulated(
    ledger: Ledger,
    curve_of: Callable[[Planned], Curve],
    clock: VirtualClock,
    *,
    slots: int,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Runs the trials of the ledger's source to their end, as `run_trials` does on a cluster.

    Args:
        ledger: gives the trials and records them; it must go by `clock`.
        curve_of: the epochs that a trial will report, at least one.
        clock: set to the time of each report.
        slots: trials that run at once.
        is_over: whether the sweep ends now; the trials that run are then stopped.
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
    """What a trial with this curve reports of its i-th epoch, from 0."""
    best = metric.best(curve[: i + 1])
    assert best is not None
    return TrialReport(epoch=curve[i], best_value=metric.value(best), finished=i + 1 == len(curve))
