"""What happens in a sweep, as it happens: the records of its trials, and what the sampler is told. No Ray.

Ray Tune feeds it (`workers/tuner.py`), or recorded curves do (`policy/replay.py`): both run the same sweep. Every event
is in the journal before anyone else hears of it, so that a new ledger over the same journal knows what this one knew,
whatever killed it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fervit.files import first_line
from fervit.search.policy.interfaces import Planned, StoppingRule, TrialSource
from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    ProcessLost,
    Purpose,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialStarted,
    TrialState,
    TrialWentOn,
)
from fervit.search.records.history import History
from fervit.search.records.journal import Journal, elapsed_seconds
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.ranking import best_values, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.report import TrialReport
from fervit.search.space.search_space import SearchSpace
from fervit.training.failure import Failure


class Observer:
    """Sees what happens in a sweep, such as a screen, TensorBoard or metrics; does nothing unless overridden.

    An observer that raises is dropped, and the others are given a remark: what helps on the side never stops the work.
    """

    def changed(self, ledger: Ledger) -> None:
        """A trial was started or reported an epoch."""

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        """A trial reported its last epoch, `record.epochs[-1]`."""

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """A trial ended."""

    def lost(self, ledger: Ledger, record: TrialRecord, why: str) -> None:
        """A trial lost its process and will go on in another."""

    def remark(self, text: str) -> None:
        """The user must know this."""

    def close(self) -> None:
        """The session ends."""


class Ledger:
    """The records of a sweep's trials.

    Args:
        space: what is searched.
        journal: where the events are kept; what it holds of an earlier session is taken up again.
        rule: which trials are stopped; a new one, as it is fed from the journal.
        observers: who sees what happens.
        models: which models stay on disk; None where there are none.
        clock: seconds, for the time that the sweep has taken.
    """

    def __init__(
        self,
        space: SearchSpace,
        journal: Journal,
        rule: StoppingRule,
        observers: Sequence[Observer] = (),
        *,
        models: ModelsKept | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space = space
        self.source: TrialSource = _NoSource()
        self._rule, self._observers, self._models, self._clock = rule, list(observers), models, clock
        self._running: dict[str, TrialRecord] = {}
        self._ended: Counter[Purpose] = Counter()
        self._waiting: list[TrialRecord] = []
        self._leading: TrialRecord | None = None
        """The best of the search's trials that have ended."""
        self._judged: dict[str, int] = {}
        """Trial -> the last epoch that the rule has seen."""
        self._decided: set[str] = set()
        """Trials that the rule has stopped."""
        self._spent, self._since, self._ended_before = 0.0, clock(), 0
        self._before, self._started = elapsed_seconds(journal.earlier), clock()
        self.events: list[Event] = []
        """All events of the sweep, in order."""
        self._history = History()
        for event in journal.earlier:
            self._apply(event)
        self._journal = journal
        self._record(SessionBegan)
        self._take_up()

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles whatever it is given, once, and never unpickles it."""
        return {}

    @property
    def records(self) -> list[TrialRecord]:
        """All trials and reruns, in the order of their numbers, then seeds."""
        return sorted(self._history.records.values(), key=lambda record: (record.number, record.seed))

    @property
    def choice(self) -> ModelChosen | None:
        """The run whose model was exported last, by this session or an earlier one."""
        return self._history.choice

    @property
    def running(self) -> list[TrialRecord]:
        """The trials of the source that have not ended, in the order in which they started."""
        return [record for record in list(self._running.values()) if record.purpose in self.source.purposes]

    @property
    def n_begun(self) -> int:
        """How many of those have been started by this session."""
        return len(self.running) - len(self._waiting)

    @property
    def n_ended(self) -> int:
        """How many trials of the source have ended, whichever way."""
        return sum(self._ended[purpose] for purpose in self.source.purposes)

    @property
    def n_ended_here(self) -> int:
        """How many of those ended since this source came into use."""
        return self.n_ended - self._ended_before

    @property
    def complete(self) -> bool:
        """Whether all trials of the source have ended."""
        return self.n_ended >= self.source.total

    @property
    def best(self) -> TrialRecord | None:
        """The best trial of the search so far, of those that have ended and those that run."""
        running = [record for record in list(self._running.values()) if record.purpose == "search"]
        leading = [self._leading] if self._leading is not None else []
        return next(iter(ranked([*leading, *running], self.space.metric)), None)

    def use(self, source: TrialSource) -> None:
        """Takes trials from `source` from now on, first those that an earlier session began.

        The source hears again how the trials that have ended did.
        """
        self.source, self._since = source, self._clock()
        self._waiting, self._ended_before = self.running, self.n_ended
        for record in self._history.records.values():
            if record.purpose == "search":
                for epoch, value in best_values(record, self.space.metric):
                    source.report(record.number, epoch, value)
            if record.state != "running":
                source.tell(record)

    def begin(self) -> Planned | None:
        """The next trial to start, or to go on with; None where there is none now."""
        if self._waiting:
            record = self._waiting.pop(0)
            config = self.space.config(record.params, record.seed)
            return Planned(record.number, record.name, record.params, config, record.purpose)
        planned = self.source.ask()
        if planned is not None:
            self._record(
                TrialStarted,
                name=planned.name,
                number=planned.number,
                seed=planned.config.seed,
                purpose=planned.purpose,
                params=planned.params,
                warmup_epochs=planned.config.warmup_epochs,
            )
            self._notify(lambda observer: observer.changed(self))
        return planned

    def begin_again(self, name: str, why: str) -> None:
        """A trial has lost its process: it goes on with the next one that is free."""
        record = self._history.records[name]
        self._record(ProcessLost, name=name, why=why)
        self._waiting.append(record)
        self._notify(lambda observer: observer.lost(self, record, why))

    def report(self, name: str, report: TrialReport) -> bool:
        """One report of a trial: an epoch's result, or its failure. Returns whether the trial is to be stopped."""
        record = self._history.records[name]
        if record.state != "running":
            return True
        if report.epoch is None:
            record.failure = report.failure
            return True
        if report.again and any(epoch.epoch == report.epoch.epoch for epoch in record.epochs):
            self._record(TrialWentOn, name=name, epoch=report.epoch.epoch)
            return False
        self._record(
            EpochEnded,
            name=name,
            row=report.epoch,
            best_value=report.best_value,
            finished=report.finished,
            saved=report.saved,
            started=report.started,
            pid=report.pid,
            cost=report.cost,
            node=report.node,
        )
        if record.purpose == "search":
            self.source.report(record.number, report.epoch.epoch, report.best_value)
        self._notify(lambda observer: observer.epoch(self, record))
        if name in self._decided and not record.finished:
            self.end(name)
            return True
        self._notify(lambda observer: observer.changed(self))
        return False

    def end(self, name: str, failure: Failure | None = None) -> None:
        """A trial has ended, by itself, stopped by the rule or the budget, or with a failure of its process."""
        record = self._history.records[name]
        if record.state != "running":
            return
        failure = failure or record.failure
        state: TrialState = "failed" if failure else "finished" if record.finished else "stopped"
        self._record(TrialEnded, name=name, state=state, failure=failure)
        self.source.tell(record)
        if self._models is not None:
            self._models.ended(record)
        self._notify(lambda observer: observer.ended(self, record))

    def is_over(self, name: str) -> bool:
        """Whether a trial has come to its own end, whatever else ends."""
        record = self._history.records[name]
        return record.finished or record.failure is not None

    def was_stopped(self, name: str) -> bool:
        """Whether the rule has stopped a trial."""
        return name in self._decided

    def end_all(self) -> None:
        """Ends all trials of the source."""
        for record in self.running:
            self.end(record.name)

    def choose(self, record: TrialRecord, *, confirmed: Sequence[int] = (), ties: Sequence[int] = ()) -> None:
        """Records the run whose model is exported, unless it is the choice already.

        Args:
            record: the run.
            confirmed: numbers of the trials that were confirmed.
            ties: numbers of those that cannot be told from the chosen one.
        """
        best = record.best(self.space.metric)
        if best is None:
            raise ValueError(f"{record.name} has no epoch")
        choice: dict[str, int | tuple[int, ...]] = {"number": record.number, "seed": record.seed, "epoch": best.epoch}
        choice |= {"confirmed": tuple(confirmed), "ties": tuple(ties)}
        if self.choice is None or any(getattr(self.choice, name) != value for name, value in choice.items()):
            self._record(ModelChosen, **choice)

    def done(self) -> None:
        """Records that the session has come to its end."""
        self._record(SweepDone)

    def spent_seconds(self) -> float:
        """Training seconds of all trials so far."""
        return self._spent

    def elapsed_seconds(self) -> float:
        """Seconds that this session and those before it have taken."""
        return self._before + self._clock() - self._started

    def session_seconds(self) -> float:
        """Seconds since this source came into use."""
        return self._clock() - self._since

    def close(self) -> None:
        """Closes the journal and ends the work of the observers."""
        self._notify(lambda observer: observer.close())
        self._journal.close()

    def _record(self, kind: Callable[..., Event], **values: Any) -> None:
        self._apply(self._journal.append(kind, **values))

    def _apply(self, event: Event) -> None:
        """Takes an event of the journal in, of this session or an earlier one."""
        self.events.append(event)
        record = self._history.apply(event)
        if record is None:
            return
        if isinstance(event, TrialStarted):
            self._running[record.name] = record
        elif isinstance(event, EpochEnded):
            self._spent += event.row.seconds
            if event.row.epoch > self._judged.get(record.name, 0) and record.purpose == "search":
                self._judged[record.name] = event.row.epoch
                if self._rule.stops(record, event.best_value, self.space.metric.value(event.row)):
                    self._decided.add(record.name)
        elif isinstance(event, TrialEnded):
            del self._running[record.name]
            self._ended[record.purpose] += 1
            if record.purpose == "search":
                known = [record] if self._leading is None else [self._leading, record]
                self._leading = next(iter(ranked(known, self.space.metric)), None)

    def _take_up(self) -> None:
        """Ends what an earlier session had decided to end."""
        for record in list(self._running.values()):
            if record.finished or record.name in self._decided:
                state: TrialState = "finished" if record.finished else "stopped"
                self._record(TrialEnded, name=record.name, state=state)
        if self._models is not None:
            self._models.take_up(list(self._history.records.values()))

    def _notify(self, call: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                call(observer)
            except Exception as error:
                self._observers.remove(observer)
                self._remark(f"{type(observer).__name__} failed and is left out from now on: {first_line(error)}")

    def _remark(self, text: str) -> None:
        self._notify(lambda observer: observer.remark(text))


class _NoSource:
    """Stands for a source before the first one is used."""

    purposes: tuple[Purpose, ...] = ()
    total = 0
    enough = ""

    def ask(self) -> Planned | None:
        return None

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, record: TrialRecord) -> None: ...
