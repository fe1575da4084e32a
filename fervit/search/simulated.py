"""Runs a sweep's trials in virtual time, in place of training on Ray Tune. Does not use Ray.

The driver, the ledger, the sampler and the stopping rule are those of a real sweep (`driver.py`). They get the same
reports in the same order as from Ray Tune: the sampler is asked for one trial more than there are places, and trials
run side by side. `RecordedCurves` are the trials of a replay, each epoch of which lasts as many virtual seconds as it
took when it was recorded; `tests/simulation` has machines that fail.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from fervit.search.driver import Driver, Room
from fervit.search.ledger import Ledger
from fervit.search.policy.interfaces import Planned
from fervit.search.records.report import TrialReport
from fervit.search.space.settings import TrialResources
from fervit.training.epoch import EpochResult

Curve = Sequence[EpochResult]
"""The results of all epochs of a training, in order."""


class VirtualClock:
    """A clock that shows the time to which it was last set. Calling it returns that time in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Machines(Protocol):
    """What runs the trials of a simulated sweep."""

    def submit(self, planned: Planned) -> None:
        """Takes a trial, which starts when there is a place for it."""
        ...

    def step(self, driver: Driver) -> bool:
        """Goes on to the next event and tells the driver of it; returns False if there will be none."""
        ...


def run_on(machines: Machines, driver: Driver) -> None:
    """Runs the trials that the driver plans until there are none left or the driver says that the run is over."""
    while not driver.is_over():
        while (planned := driver.next()) is not None:
            machines.submit(planned)
        if not machines.step(driver):
            break


def run_simulated(
    ledger: Ledger,
    curve_of: Callable[[Planned], Curve],
    clock: VirtualClock,
    *,
    slots: int,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Runs all trials of the ledger's source on recorded curves.

    Args:
        ledger: plans the trials and records them. Its clock must be `clock`.
        curve_of: returns the epochs that a trial will report, at least one.
        clock: is set to the time of each report.
        slots: how many trials run at once.
        is_over: returns whether the sweep ends now. The trials that still run are then stopped.
    """
    driver = Driver(ledger, Room(lambda: (slots, slots), clock=clock), TrialResources(), clock=clock)
    driver.run(lambda: run_on(RecordedCurves(curve_of, clock, slots, is_over), driver))


class _Running(NamedTuple):
    """A trial that occupies a slot. Such trials are ordered by the time at which their next epoch ends."""

    due: float
    order: int
    name: str
    curve: Curve
    done: int
    """The number of epochs that the trial has reported."""
    best_value: float


class RecordedCurves:
    """Slots in which nothing fails, and trials that report recorded epochs.

    Args:
        curve_of: returns the epochs that a trial will report, at least one.
        clock: is set to the time of each report.
        slots: how many trials run at once.
        is_over: returns whether the trials end now.
    """

    def __init__(
        self, curve_of: Callable[[Planned], Curve], clock: VirtualClock, slots: int, is_over: Callable[[], bool]
    ) -> None:
        self._curve_of, self._clock, self._slots, self._is_over = curve_of, clock, slots, is_over
        self._pending: list[Planned] = []
        self._running: list[_Running] = []
        self._started = 0
        self._left: dict[str, _Running] = {}
        """The trials that were stopped before their end: those that pause go on from there."""

    def submit(self, planned: Planned) -> None:
        """Takes a trial, which starts when there is a slot for it."""
        self._pending.append(planned)

    def step(self, driver: Driver) -> bool:
        """Starts the trials for which there is a slot, and reports the next epoch."""
        if self._is_over():
            return False
        now = self._clock.now
        while self._pending and len(self._running) < self._slots:
            planned = self._pending.pop(0)
            begins = _Running(now, self._started, planned.name, (), 0, float("nan"))
            left = self._left.pop(planned.name, None) or begins._replace(curve=self._curve_of(planned))
            driver.placed(planned.name)
            due = now + left.curve[left.done].seconds
            heapq.heappush(self._running, left._replace(due=due, order=self._started))
            self._started += 1
        if not self._running:
            return False
        trial = heapq.heappop(self._running)
        self._clock.now = trial.due
        metric = driver.ledger.space.metric
        epoch, done = trial.curve[trial.done], trial.done + 1
        value = metric.value(epoch)
        best = value if trial.done == 0 or metric.better(value, trial.best_value) else trial.best_value
        finished = done == len(trial.curve)
        report = TrialReport(epoch=epoch, best_value=best, finished=finished, started=float(trial.order))
        stops = driver.reported(trial.name, report)
        if finished or stops:
            driver.completed(trial.name)
            if not finished:
                self._left[trial.name] = trial._replace(done=done, best_value=best)
        else:
            due = trial.due + trial.curve[done].seconds
            heapq.heappush(self._running, trial._replace(due=due, done=done, best_value=best))
        return True
