"""Answers what the backend of a sweep reports: a free place, a trial's report, a process that died. Does not use Ray.

A backend places the trials and runs their processes: Ray Tune in a real sweep (`workers/tuner.py`), recorded curves in
a replay (`simulated.py`), simulated machines in tests. All of them ask the same driver, so that what holds for one of
them holds for all.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from fervit.io.disk import remove, touch
from fervit.search.ledger import Ledger
from fervit.search.outcome.settle import settle_running
from fervit.search.policy.interfaces import Planned
from fervit.search.records.report import TrialReport
from fervit.search.records.requests import done_with, received
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.settings import TrialResources
from fervit.system.interrupts import SHORT_S
from fervit.training.failure import OUT_OF_MEMORY, PROCESS_DIED, Failure

_Process = tuple[int, float]
"""What tells the processes of a trial apart: the process id, and when it began to work on the trial."""

LISTEN_S = 1.0
"""The seconds between two looks for requests of users."""

LOOK_S = 5.0
"""The seconds between two queries of the cluster's nodes."""


class Room:
    """Counts the places for trials, including those on nodes that an autoscaler may add.

    Args:
        look: returns how many trials fit on the whole cluster at once, and for how many there is a free place.
        most: the most trials that run at once; None for as many as fit.
        clock: returns seconds.
    """

    def __init__(
        self,
        look: Callable[[], tuple[int, int]],
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_at_cluster, self._most, self._clock = look, most, clock
        self._looked: float | None = None
        self._trials = self._free = 0
        self._held = self._held_before = 0
        """The most places that this sweep held since the last look at the cluster, and between the two before."""

    @property
    def trials(self) -> int:
        """How many trials fit on the whole cluster at once."""
        self._look()
        return self._trials

    def is_full(self, begun: int, placed: int) -> bool:
        """Returns whether no further trial is planned now.

        One trial more than fit is planned, which starts as soon as another ends. Planning more trials ahead would
        choose them from fewer results; so would planning trials for places that another sweep on the cluster holds.

        Args:
            begun: how many trials have been planned and have not ended.
            placed: how many of them hold a place.
        """
        if self._look():
            self._held_before, self._held = self._held, placed
        self._held = max(self._held, placed)
        if self._most is not None and begun >= self._most:
            return True
        vacant = max(self._held, self._held_before) - placed  # a process that has no trial at the moment
        return begun > self._trials or begun - placed > self._free + vacant

    def _look(self) -> bool:
        """Queries the cluster's nodes if that is due, and returns whether it was."""
        now = self._clock()
        if self._looked is not None and now - self._looked <= LOOK_S:
            return False
        self._trials, self._free = self._look_at_cluster()
        self._looked = self._clock()
        return True


class Driver:
    """Decides which trials start, which are tried again, and when the trials of the ledger's source end.

    Args:
        ledger: plans the trials and records them.
        room: the places for trials.
        resources: the resources of a trial, and how often its process may die.
        folder: the folder of the sweep; None where trials write nothing.
        clock: returns seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        room: Room,
        resources: TrialResources,
        folder: SweepFolder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger, self.room = ledger, room
        self.interrupted = False
        """Whether the user has asked for an end: trials save, and go on when the sweep is resumed."""
        self._folder, self._clock = folder, clock
        self._max_failures, self._gpus = resources.max_failures, resources.gpus_each * resources.workers
        self._shares_faults = resources.mps
        self._deaths: Counter[str] = Counter()
        self._device_faults: Counter[str] = Counter()
        self._alone: set[str] = set()
        """The names of the trials that are tried again alone, since their neighbours may have taken the memory that
        they lacked, or may have caused the fault of their GPU."""
        self._last_reports: dict[str, tuple[_Process, int]] = {}
        """The name of each trial that has reported -> its process and the last epoch that this one has reported."""
        self._given_up: set[tuple[str, _Process]] = set()
        """The processes of trials that are lost. What still arrives from them is of no trial any more."""
        self._due: dict[str, float] = {}
        """The name of each trial that has reported -> when its next report is due."""
        self._waiting_for: set[str] = set()
        self._deadline = 0.0
        self._listened = -math.inf
        """When requests of users were looked for."""

    def __getstate__(self) -> dict[str, Any]:
        """Returns an empty state, since Ray Tune pickles the driver once and never unpickles it."""
        return {}

    def run(self, backend: Callable[[], None]) -> None:
        """Runs all trials of the ledger's source and records their ends.

        Args:
            backend: runs trials until there is none left or `is_over` is true. It asks `next` for trials, and calls the
                other methods for what happens to them.

        Raises:
            UserError: the sweep can no longer be recorded.
            KeyboardInterrupt: Ctrl-C ended the run. A resumed sweep continues the running trials from their saved
                states.
        """
        ledger = self.ledger
        self._listen()
        if ledger.source.total > ledger.n_ended:
            self._forget_request()
            if not self.is_over():
                backend()
                if ledger.broken is not None:
                    raise ledger.broken
                self._forget_request()
                if self.interrupted:
                    raise KeyboardInterrupt
        # Of the trials that still run, this backend has ended some, and others are those of an earlier session.
        if self._folder is not None:
            settle_running(ledger, self._folder)
        ledger.end_all()

    def next(self) -> Planned | None:
        """Returns the next trial to start or to continue; None if there is none now."""
        self._listen()
        begun = self.ledger.n_begun
        if self.room.is_full(begun, self.ledger.n_placed) or self.ending:
            return None
        if self.ledger.pauses and begun >= self.room.trials:  # what is worth most is known when a place is free
            return None
        return self.ledger.begin()

    def placed(self, name: str) -> None:
        """Records that a process is up which works on a trial."""
        self.ledger.placed(name, self._gpus)

    def reported(self, name: str, report: TrialReport) -> bool:
        """Records a trial's report, and returns whether the trial is to be stopped.

        A report that arrives again, after a later one, or from a process that was given up changes nothing.
        """
        self._listen()
        process = report.pid, report.started
        if (name, process) in self._given_up:
            return True
        if report.epoch is not None:
            known, last = self._last_reports.get(name, (None, 0))
            if known == process and report.epoch.epoch <= last:
                return self.ledger.was_stopped(name)
            self._last_reports[name] = process, report.epoch.epoch
        stops = self.ledger.report(name, report)
        if self.ledger.is_paused(name):
            self._given_up.add((name, process))
            self._last_reports.pop(name, None)
        self._note(name, report)
        return stops

    def completed(self, name: str) -> None:
        """Records that a trial has ended by itself or was stopped. One that pauses goes on later."""
        if self.ledger.is_paused(name):
            return
        if not self.interrupted or self.ledger.is_over(name):
            self.ledger.end(name)

    def failed(self, name: str, failure: Failure) -> None:
        """Records that the process of a trial has ended with an exception or has died; the trial may be tried again.

        Under MPS, the fault of one client ends all clients of a GPU, some with an error and some without a word, and
        nobody can tell which of them has caused it. A process that ends so therefore counts for no trial. A trial that
        meets a second one is then tried alone, where the next one is its own.

        Args:
            name: the name of the trial.
            failure: why the process has ended.
        """
        if self.ledger.is_paused(name):  # the process of an earlier part of it
            return
        if self.interrupted:
            self.ledger.lost(name, str(failure))
            self._note(name)
            return
        if name in self._last_reports:
            self._given_up.add((name, self._last_reports.pop(name)[0]))
        if failure.kind == PROCESS_DIED and self._shares_faults and name not in self._alone:
            self._device_faults[name] += 1
            if self._device_faults[name] > 1:
                self._alone.add(name)
            self.ledger.begin_again(name, str(failure), alone=name in self._alone)
            return
        self._deaths[name] += failure.kind == PROCESS_DIED
        if failure.kind == OUT_OF_MEMORY and name not in self._alone:
            self._alone.add(name)
            self.ledger.begin_again(name, str(failure), alone=True)
        elif failure.by_configuration or self._deaths[name] > self._max_failures:
            self.ledger.end(name, failure)
        else:
            self.ledger.begin_again(name, str(failure))

    @property
    def ending(self) -> bool:
        """Whether no further trials may start."""
        return self.interrupted or self.is_over()

    def interrupt(self, within: float = SHORT_S) -> None:
        """Begins to end the run after Ctrl-C, and waits for the trials whose current epoch ends soon.

        Args:
            within: the seconds within which it must end; longer epochs are given up.
        """
        if self._folder is not None:
            touch(self._folder.stop)
        soon = self._clock() + within
        self._waiting_for = {r.name for r in self.ledger.running if self._due.get(r.name, soon + 1) <= soon}
        self._deadline = soon + 5
        self.interrupted = True

    def is_over(self) -> bool:
        """Returns whether the run ends now: after Ctrl-C, when the budget is spent, or when the source has enough."""
        if self.interrupted:
            return not self._waiting_for or self._clock() > self._deadline
        self._listen()
        ledger = self.ledger
        if ledger.broken is not None:
            return True
        over = ledger.spent()
        if over is None and ledger.source.enough and not ledger.complete:
            over = ("noise", ledger.source.enough)
        if over is not None:
            ledger.end_part(*over)
        return over is not None

    def _note(self, name: str, report: TrialReport | None = None) -> None:
        """Notes that a trial has reported or, without a report, has ended. After Ctrl-C, it is awaited until it saves.

        The first report after Ctrl-C may be of an epoch that ended before the trial could hear of it.
        """
        epoch = report.epoch if report is not None else None
        self._due[name] = self._clock() + (epoch.seconds if epoch is not None else 0.0)
        if self.interrupted and (epoch is None or report is None or report.finished or report.saved == epoch.epoch):
            self._waiting_for.discard(name)

    def _listen(self) -> None:
        """Carries out what users have asked of the sweep meanwhile, each request once."""
        now = self._clock()
        if self._folder is None or self.interrupted or now - self._listened < LISTEN_S:
            return
        self._listened = now
        for request in received(self._folder):
            self.ledger.answer(request)
            if self.ledger.broken is None:
                done_with(self._folder, request)

    def _forget_request(self) -> None:
        """Removes the file that asks trials to stop."""
        if self._folder is not None:
            remove(self._folder.stop)
