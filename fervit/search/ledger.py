"""The ledger of a sweep: it records what happens to the trials and passes the results on to the sampler. No Ray.

Ray Tune calls the ledger in a real sweep (`workers/tuner.py`), and recorded curves call it in a replay
(`simulated.py`). Every event is written to the journal before the sampler or an observer learns of it. After a crash, a
new ledger over the same journal therefore has the same state.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from fervit.cluster.job import job_name
from fervit.errors import UserError
from fervit.io.files import first_line
from fervit.latents.folds import Fold
from fervit.search.policy.interfaces import Pausing, Planned, StoppingRule, TrialSource
from fervit.search.policy.thaw import Thaw
from fervit.search.records.events import (
    FORMAT,
    EndedBy,
    EpochEnded,
    Event,
    ModelChosen,
    Part,
    PartEnded,
    ProcessLost,
    Purpose,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialPaused,
    TrialPlaced,
    TrialResumed,
    TrialReturned,
    TrialsExpected,
    TrialStarted,
    TrialState,
    TrialWentOn,
    UserAsked,
    part_of,
)
from fervit.search.records.history import History
from fervit.search.records.journal import Journal
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.ranking import best_values, ranked
from fervit.search.records.record import TrialRecord
from fervit.search.records.report import TrialReport
from fervit.search.records.requests import Request
from fervit.search.records.spent import Spent
from fervit.search.space.search_space import Params, SearchSpace
from fervit.search.space.settings import Budget, Confirm
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure
from fervit.version import __version__

BY_HAND = "by hand"
"""Why a trial is stopped that a user asked to stop."""


class Observer:
    """Follows a sweep, such as a screen, TensorBoard or metrics do. Every method does nothing unless it is overridden.

    An observer that raises an exception is removed, and the other observers get a remark about it, so that an error of
    an observer never ends a sweep.
    """

    def changed(self, ledger: Ledger) -> None:
        """Is called when a trial has started or has reported an epoch."""

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        """Is called when a trial has reported an epoch, which is `record.epochs[-1]`."""

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Is called when a trial has ended."""

    def moved(self, ledger: Ledger, record: TrialRecord) -> None:
        """Is called when a trial has paused or goes on; `record.why` says why."""

    def lost(self, ledger: Ledger, record: TrialRecord, why: str) -> None:
        """Is called when the process of a trial has died. The trial continues in another process."""

    def remark(self, text: str) -> None:
        """Shows a remark to the user."""

    def close(self) -> None:
        """Is called at the end of the session."""


class Ledger:
    """Records the trials of a sweep, plans the next ones and decides which trials are stopped.

    Args:
        space: the search space.
        journal: stores the events. A sweep continues from the events of earlier sessions.
        rule: the rule that stops trials early. It must be new, since the ledger applies the journal's events to it.
        observers: the observers of the sweep.
        models: decides which models stay on disk; None where trials write no models.
        pausing: decides which trials pause and which go on. It must be new, too. None for what the space says: with
            `scheduler: thaw` trials pause as `Thaw` says, with others none does.
        clock: returns seconds, to measure how long the sweep takes.
    """

    def __init__(
        self,
        space: SearchSpace,
        journal: Journal,
        rule: StoppingRule,
        observers: Sequence[Observer] = (),
        *,
        models: ModelsKept | None = None,
        pausing: Pausing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space = space
        self.source: TrialSource = _NoSource()
        self._rule, self._observers, self._models, self._clock = rule, list(observers), models, clock
        self._running: dict[str, TrialRecord] = {}
        self._ended: Counter[Purpose] = Counter()
        self._n_running: Counter[Purpose] = Counter()
        self._waiting: list[TrialRecord] = []
        self._alone: list[TrialRecord] = []
        """The trials that wait until no other trial runs."""
        self._thaw = Thaw(space) if pausing is None and space.early_stopping.scheduler == "thaw" else pausing
        """Decides which trials pause and which go on; None if trials do not pause."""
        self._none_is_worth = False
        """Whether no paused trial was worth a place when one was asked for, and nothing has happened since."""
        self._leading: TrialRecord | None = None
        """The best trial of the search among those that have ended."""
        self._judged: dict[str, int] = {}
        """The name of each trial -> the last epoch that the stopping rule has judged."""
        self._decided: set[str] = set()
        """The names of the trials that the stopping rule has stopped."""
        self._since, self._ended_before, self._started = clock(), 0, clock()
        self._spent = Spent(gpus=space.trial.gpus_each * space.trial.workers)
        self._history = History()
        self._journal = journal
        for event in journal.events:
            self._apply(event)
        for remark in [*journal.remarks, self._history.remark]:
            if remark:
                self._remark(remark)
        self._record(SessionBegan, format=FORMAT, version=__version__, job=job_name())
        self._take_up()

    def __getstate__(self) -> dict[str, Any]:
        """Returns an empty state, since Ray Tune pickles the ledger once and never unpickles it."""
        return {}

    @property
    def events(self) -> Iterable[Event]:
        """All events of the sweep in order, those of earlier sessions included. They are read anew each time."""
        return self._journal.events

    @property
    def broken(self) -> UserError | None:
        """Why the sweep can no longer be recorded and has to end; None as long as it can."""
        return self._journal.broken

    @property
    def records(self) -> list[TrialRecord]:
        """All trials and reruns, sorted by their numbers and then by their seeds."""
        return sorted(self._history.records.values(), key=lambda record: (record.number, record.seed))

    @property
    def choice(self) -> ModelChosen | None:
        """The choice of the run whose model was exported last, by this session or an earlier one."""
        return self._history.choice

    @property
    def added(self) -> list[Params]:
        """The configurations that users added to the search."""
        return self._history.added

    @property
    def wanted(self) -> list[Params]:
        """Those of them that have not begun."""
        return self._history.wanted

    @property
    def on_hold(self) -> bool:
        """Whether users asked that no further trials begin."""
        return self._history.on_hold

    @property
    def part(self) -> Part:
        """The part of the sweep that the current source plans."""
        return part_of(self.source.purposes[0]) if self.source.purposes else "search"

    @property
    def running(self) -> list[TrialRecord]:
        """The trials of the current source that have not ended and are not paused, in the order of their starts."""
        return [record for record in self._unended if not record.paused]

    @property
    def paused(self) -> list[TrialRecord]:
        """The trials of the current source that are paused or have not begun, in the order in which they were drawn."""
        return [record for record in self._unended if record.paused]

    @property
    def _unended(self) -> list[TrialRecord]:
        return [record for record in list(self._running.values()) if record.purpose in self.source.purposes]

    @property
    def n_running(self) -> int:
        """How many trials of the current source have not ended, those that are paused among them."""
        return sum(self._n_running[purpose] for purpose in self.source.purposes)

    @property
    def pauses(self) -> bool:
        """Whether trials of the current source may pause."""
        return self._thaw is not None and "search" in self.source.purposes

    @property
    def wants_place(self) -> bool:
        """Whether a trial that is paused or has not begun is worth a free place."""
        if self._thaw is None or not self.pauses or self._none_is_worth:
            return False
        return self._next_paused(self._thaw, [record.name for record in self.paused]) is not None

    @property
    def n_paused(self) -> int:
        """How many trials of the current source are paused or have not begun."""
        return len(self.paused) if self._thaw is not None else 0

    @property
    def n_begun(self) -> int:
        """How many of the running trials this session has started."""
        return self.n_running - self.n_paused - len(self._waiting) - len(self._alone)

    @property
    def n_waiting(self) -> int:
        """How many of the running trials wait for a process: those of earlier sessions, and those that lost theirs."""
        return len(self._waiting)

    @property
    def n_placed(self) -> int:
        """How many trials hold a place on the cluster."""
        return self._spent.n_placed

    @property
    def n_ended(self) -> int:
        """How many trials of the current source have finished, failed or been stopped."""
        return sum(self._ended[purpose] for purpose in self.source.purposes)

    @property
    def n_ended_here(self) -> int:
        """How many trials of the current source have ended since `use` was called."""
        return self.n_ended - self._ended_before

    @property
    def complete(self) -> bool:
        """Whether all trials of the current source have ended."""
        return self.n_ended >= self.source.total

    @property
    def best(self) -> TrialRecord | None:
        """The best trial of the search so far, whether it has ended or still runs; None before the first epoch."""
        running = [record for record in list(self._running.values()) if record.purpose == "search"]
        leading = [self._leading] if self._leading is not None else []
        return next(iter(ranked([*leading, *running], self.space.metric)), None)

    def use(self, source: TrialSource) -> None:
        """Makes `source` the source of trials. The unfinished trials of earlier sessions are started first.

        The results of the journal's trials are reported to the source again.
        """
        self.source, self._since = source, self._clock()
        self._waiting, self._alone, self._ended_before = self.running, [], self.n_ended
        for record in self._history.records.values():
            if record.purpose == "search":
                for epoch, value in best_values(record, self.space.metric):
                    source.report(record.number, epoch, value)
            if record.state != "running":
                source.tell(record)

    def answer(self, request: Request) -> None:
        """Carries out what a user asks, unless an earlier session has."""
        if request.request in self._history.asked:
            return
        given = {"request": request.request, "action": request.action, "name": request.name, "params": request.params}
        self._record(UserAsked, **given)
        self._remark(f"you asked: {request.words}")
        if request.action == "add":
            self.source.add(request.params)
        record = self._history.records.get(request.name)
        if request.action == "stop" and record is not None and record.state == "running":
            here = record.paused or record in self._waiting or record in self._alone
            self._waiting = [one for one in self._waiting if one is not record]
            self._alone = [one for one in self._alone if one is not record]
            if here:  # no process would end it
                self.end(record.name, why=BY_HAND)

    def begin(self) -> Planned | None:
        """Returns the next trial to start or to continue; None if there is none at the moment."""
        if self.on_hold:
            return None
        if self._waiting:
            return self._planned_again(self._waiting.pop(0))
        if self._thaw is not None and self.pauses:
            planned = self._return_one(self._thaw)
        else:
            planned = self.source.ask()
            if planned is not None:
                self._start(planned)
        if planned is None and self._alone and not self.n_begun:
            return self._planned_again(self._alone.pop(0))
        if planned is not None:
            self._notify(lambda observer: observer.changed(self))
        return planned

    def _start(self, planned: Planned) -> None:
        self._record(
            TrialStarted,
            name=planned.name,
            number=planned.number,
            seed=planned.config.seed,
            purpose=planned.purpose,
            params=planned.params,
            warmup_epochs=planned.config.warmup_epochs,
            fold=planned.fold.number if planned.fold is not None else 0,
            folds=planned.fold.of if planned.fold is not None else 0,
        )
        if self._models is not None:
            self._models.started(self._history.records[planned.name])

    def _return_one(self, thaw: Pausing) -> Planned | None:
        """Draws what the source still has, and plans the paused trial that is worth a place most; None if none is.

        When none is and nothing trains any more, the search has ended: what is paused is stopped.
        """
        while (drawn := self.source.ask()) is not None:
            self._start(drawn)
            self._record(TrialPaused, name=drawn.name)
        if self._none_is_worth:
            return None
        paused = {record.name: record for record in self.paused}
        name = self._next_paused(thaw, paused)
        if name is None:
            if paused and not self.running:
                for record in paused.values():
                    self.end(record.name, why=thaw.reason(record.name))
            self._none_is_worth = True
            return None
        record = paused[name]
        if record.epochs and self._models is not None and not self._models.can_resume(record):
            self._remark(f"{name}: its saved state is gone, so it begins again")
        self._record(TrialReturned, name=name, epoch=record.last_epoch, why=thaw.reason(name))
        self._notify(lambda observer: observer.moved(self, record))
        return self._planned_again(record)

    def _next_paused(self, thaw: Pausing, paused: Collection[str]) -> str | None:
        """Returns which paused trial trains next: one that a user keeps, or what is worth a place most."""
        kept = next((name for name in paused if name in self._history.to_keep), None)
        return kept if kept is not None else thaw.choose(paused, self._busy())

    def _pause(self, thaw: Pausing, record: TrialRecord) -> None:
        """Records that a trial pauses. Of more than may pause, the one with the least to gain is stopped."""
        self._record(TrialPaused, name=record.name, epoch=record.last_epoch, why=thaw.reason(record.name))
        self._notify(lambda observer: observer.moved(self, record))
        surplus = thaw.surplus([one.name for one in self.paused if one.name not in self._history.to_keep])
        if surplus is not None:
            self.end(surplus, why=thaw.reason(surplus))

    def _busy(self, but: str = "") -> list[str]:
        """Returns the names of the trials of the search that train or wait for a process."""
        return [one.name for one in self.running if one.purpose == "search" and one.name != but]

    def is_paused(self, name: str) -> bool:
        """Returns whether a trial is paused, so that what its process still does is of no trial."""
        return self._history.records[name].paused

    def placed(self, name: str, gpus: float = 0.0) -> None:
        """Records that a process is up which works on a trial. From now on the trial holds its place.

        Args:
            name: the name of the trial.
            gpus: the GPUs that all its workers hold together.
        """
        record = self._history.records[name]
        if record.state == "running" and not record.paused:
            self._record(TrialPlaced, name=name, gpus=gpus)

    def _planned_again(self, record: TrialRecord) -> Planned:
        config = self.space.config(record.params, record.seed)
        fold = Fold(record.fold, record.folds, self.space.search.seed) if record.fold else None
        return Planned(record.number, record.name, record.params, config, record.purpose, fold)

    def lost(self, name: str, why: str) -> None:
        """Records that the process of a trial has died, whose place is free again. Nothing is planned for the trial."""
        self._record(ProcessLost, name=name, why=why)

    def begin_again(self, name: str, why: str, *, alone: bool = False) -> None:
        """Records that the process of a trial has died, and plans the trial again.

        Args:
            name: the name of the trial.
            why: the reason, for the user.
            alone: starts the trial when no other trial runs or can start, since it may have lacked memory because of
                its neighbours.
        """
        record = self._history.records[name]
        self.lost(name, why)
        (self._alone if alone else self._waiting).append(record)
        self._notify(lambda observer: observer.lost(self, record, why))

    def report(self, name: str, report: TrialReport) -> bool:
        """Records a trial's report on epochs or a failure, and returns whether the trial is to be stopped."""
        return any(self._report(name, one, last=False) for one in report.earlier) or self._report(name, report)

    def _report(self, name: str, report: TrialReport, *, last: bool = True) -> bool:
        """Records one report of a group. `last` says whether it is the group's last one."""
        record = self._history.records[name]
        if record.state != "running" or record.paused:
            return True
        if report.epoch is None:
            record.failure = report.failure
            return True
        if report.again and any(epoch.epoch == report.epoch.epoch for epoch in record.epochs):
            if last:
                self._record(TrialWentOn, name=name, epoch=report.epoch.epoch)
            return False
        self._tell_gap(record, report.epoch.epoch)
        stops = self._judge(record, report.epoch, report.best_value)  # first, so that the decision is in the journal
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
            stops=stops,
        )
        if record.purpose == "search":
            self.source.report(record.number, report.epoch.epoch, report.best_value)
        self._notify(lambda observer: observer.epoch(self, record))
        if name in self._decided and not record.finished:
            if self._thaw is not None and record.purpose == "search" and name not in self._history.to_stop:
                self._pause(self._thaw, record)
                self._notify(lambda observer: observer.changed(self))
            else:
                self.end(name, why=self._why(name))
            return True
        self._notify(lambda observer: observer.changed(self))
        return False

    def _tell_gap(self, record: TrialRecord, epoch: int) -> None:
        """Says if the journal lacks epochs of a trial, whose saved state is later than what a power cut left here."""
        first = record.last_epoch + 1
        if epoch > first:
            which = f"epoch {first} is" if epoch == first + 1 else f"epochs {first} to {epoch - 1} are"
            self._remark(
                f"{record.name}: {which} lost from the journal, as after a power cut; the trial goes on from its saved "
                f"epoch {epoch}"
            )

    def settle(self, name: str, row: EpochResult, *, finished: bool) -> None:
        """Records the epoch whose model is on disk, so that a trial's best epoch is the one that can be exported.

        Args:
            name: the name of the trial. It may have ended.
            row: the epoch. Later epochs are dropped from the record, since no model of them is left.
            finished: whether it is the last epoch of the trial.
        """
        record = self._history.records[name]
        self._record(
            EpochEnded,
            name=name,
            row=row,
            best_value=self.space.metric.value(row),
            finished=finished,
            saved=record.saved,
            started=record.started,
            pid=record.pid,
            cost=record.cost,
            stops=name in self._decided,
        )
        if record.purpose == "search":
            self.source.report(record.number, row.epoch, self.space.metric.value(row))
        self._notify(lambda observer: observer.epoch(self, record))

    def end(self, name: str, failure: Failure | None = None, *, cut: bool = False, why: str = "") -> None:
        """Records that a trial has ended.

        Args:
            name: the name of the trial.
            failure: the failure of its process; None if the trial finished, was stopped or reported its failure.
            cut: whether the end of the search or its budget ends the trial, unless it has an end of its own. The
                sampler is then told nothing about it, and its saved state is kept.
            why: why a trial is stopped, for the user.
        """
        record = self._history.records[name]
        if record.state != "running":
            return
        failure = failure or record.failure
        state: TrialState = "failed" if failure else "finished" if record.finished else "stopped"
        cut = cut and state == "stopped" and name not in self._decided
        self._record(TrialEnded, name=name, state=state, failure=failure, cut=cut, why=why)
        self.source.tell(record)
        if self._models is not None:
            self._models.ended(record)
        self._notify(lambda observer: observer.ended(self, record))

    def is_over(self, name: str) -> bool:
        """Returns whether a trial has trained all its epochs or has failed."""
        record = self._history.records[name]
        return record.finished or record.failure is not None

    def was_stopped(self, name: str) -> bool:
        """Returns whether the stopping rule has stopped a trial."""
        return name in self._decided

    def end_all(self) -> None:
        """Records the end of all running trials of the current source, which could have gone on."""
        for record in self._unended:
            self.end(record.name, cut=True)

    def end_part(self, by: EndedBy, why: str) -> None:
        """Records why the search or the confirmation ends before its last trial, unless that is recorded already."""
        if self.part not in self._history.ends:
            self._record(PartEnded, part=self.part, by=by, why=why)

    def ended_because(self, part: Part = "search") -> str:
        """Returns why a part of the sweep ended before its last trial; "" if it did not."""
        end = self._history.ends.get(part)
        return end.why if end is not None else ""

    def expect(self) -> None:
        """Records what the model of curves expects of the configurations, once the search has ended."""
        if self._thaw is not None and self._history.expects and (values := self._thaw.expected()):
            self._record(TrialsExpected, values=values)

    def choose(
        self,
        record: TrialRecord,
        *,
        confirmed: Sequence[int] = (),
        ties: Sequence[int] = (),
        left_out: Sequence[int] = (),
        without_model: Sequence[str] = (),
    ) -> None:
        """Records the run whose model is exported, unless the same choice is already recorded.

        Args:
            record: the chosen run.
            confirmed: the numbers of the trials that were confirmed with fresh seeds.
            ties: the numbers of the trials that are not significantly worse than the chosen one.
            left_out: the numbers of the trials of which no rerun with a fresh seed finished.
            without_model: the names of the better runs without a model that can be exported.
        """
        best = record.best(self.space.metric)
        if best is None:
            raise ValueError(f"{record.name} has no epoch")
        choice: dict[str, object] = {"number": record.number, "seed": record.seed, "epoch": best.epoch}
        choice |= {"confirmed": tuple(confirmed), "ties": tuple(ties), "left_out": tuple(left_out)}
        choice |= {"without_model": tuple(without_model)}
        if self.choice is None or any(getattr(self.choice, name) != value for name, value in choice.items()):
            self._record(ModelChosen, **choice)

    def done(self) -> None:
        """Records that the session has completed the sweep."""
        self._record(SweepDone)

    def elapsed_seconds(self) -> float:
        """Returns the seconds that this session and the earlier sessions have taken."""
        return self._spent.elapsed_until(self._at())

    def held_seconds(self, part: Part = "search") -> float:
        """Returns the seconds in which at least one trial of a part held a place: what its `hours` count."""
        return self._spent.of_part_until(part, self._at())

    def gpu_seconds(self, part: Part = "search") -> float:
        """Returns the seconds for which trials of a part held GPUs, summed over the GPUs."""
        return self._spent.gpu_of_part_until(part, self._at())

    def spent(self) -> tuple[EndedBy, str] | None:
        """Returns which budget of the current part is spent, with the reason for the user; None if none is."""
        part = self.part
        by = self._exceeded(part)
        if by is None or self.complete:
            return None
        whose, runs = (" of the confirmation", "reruns") if part == "confirm" else ("", "trials")
        limit = f"{getattr(self._limits(part), by):g} {'hours' if by == 'hours' else 'GPU-hours'}"
        cut = f", {self.n_running} of which it cut" if self.n_running else ""
        begun = self.n_running + self.n_ended
        return by, f"the budget{whose} of {limit} is spent after {begun} of {self.source.total} {runs}{cut}"

    def session_seconds(self) -> float:
        """Returns the seconds since `use` was called."""
        return self._clock() - self._since

    def close(self) -> None:
        """Closes the observers and the journal."""
        self._notify(lambda observer: observer.close())
        self._journal.close()

    def _at(self) -> float:
        return round(self._clock() - self._started, 3)

    def _record(self, kind: Callable[..., Event], **values: Any) -> None:
        self._apply(self._journal.append(kind, at=self._at(), **values))

    def _apply(self, event: Event) -> None:
        """Updates the records with an event of this session or an earlier one."""
        self._spent.apply(event)
        self._none_is_worth = False
        earlier = self._history.records.get(event.name) if isinstance(event, TrialStarted) else None
        if earlier is not None and earlier.state != "running":  # a rerun that was stopped runs again from its beginning
            self._ended[earlier.purpose] -= 1
        record = self._history.apply(event)
        if record is None:
            return
        if self._thaw is not None and record.purpose == "search":
            if isinstance(event, TrialStarted):
                self._thaw.drawn(record)
            elif isinstance(event, TrialEnded) and event.state == "failed":
                self._thaw.failed(record.name)
        if isinstance(event, TrialStarted | TrialResumed):
            self._n_running[record.purpose] += record.name not in self._running
            self._running[record.name] = record
            self._ended[record.purpose] -= isinstance(event, TrialResumed)
        elif isinstance(event, TrialReturned):
            self._decided.discard(record.name)
        elif isinstance(event, EpochEnded):
            # The journal's decisions stand, even if the rule of this version would decide otherwise.
            decided = self._judge(record, event.row, event.best_value, event.stops)
            if decided if event.stops is None else event.stops:
                self._decided.add(record.name)
            else:
                self._decided.discard(record.name)
        elif isinstance(event, TrialEnded):
            if self._running.pop(record.name, None) is not None:
                self._ended[record.purpose] += 1
                self._n_running[record.purpose] -= 1
            if record.purpose == "search":
                known = [record] if self._leading is None else [self._leading, record]
                self._leading = next(iter(ranked(known, self.space.metric)), None)

    def _judge(self, record: TrialRecord, row: EpochResult, best_value: float, recorded: bool | None = None) -> bool:
        """Returns whether the rule stops or pauses a trial after an epoch, which it judges only once.

        Args:
            record: the trial.
            row: the epoch.
            best_value: the best value of the metric that the trial has reached so far.
            recorded: what the journal says of it; None if it is to be decided.
        """
        name, asked = record.name, self._history
        if record.purpose != "search" or row.epoch <= self._judged.get(name, 0):
            return name in self._decided
        self._judged[name] = row.epoch
        if self._thaw is not None:
            self._thaw.learn(name, row.epoch, best_value)
            if recorded is not None:
                return recorded
            others = [one.name for one in self.paused]
            stops = self._thaw.pauses(name, row.epoch, others, self._busy(name))
        else:
            stops = self._rule.stops(record.judged_by(row), best_value, self.space.metric.value(row))
        return name in asked.to_stop or (stops and name not in asked.to_keep)

    def _why(self, name: str) -> str:
        """Returns why a trial is stopped."""
        return BY_HAND if name in self._history.to_stop else self._rule.reason(name)

    def _take_up(self) -> None:
        """Ends the trials that an earlier session had finished or stopped without recording their end."""
        for record in list(self._running.values()):
            name, by_hand = record.name, record.name in self._history.to_stop
            if self._thaw is not None and name in self._decided and not record.finished and not by_hand:
                if not record.paused:
                    self._pause(self._thaw, record)
            elif record.finished or name in self._decided or by_hand:
                state: TrialState = "finished" if record.finished else "stopped"
                self._record(TrialEnded, name=name, state=state, why="" if record.finished else self._why(name))
        for record in list(self._history.records.values()):
            if record.cut and self._may_resume(record):
                self._record(TrialResumed, name=record.name)
        if self._models is not None:
            self._models.take_up(list(self._history.records.values()))

    def _may_resume(self, record: TrialRecord) -> bool:
        """Returns whether a trial that was cut goes on, or begins again because it had saved nothing yet.

        It does not while what ended it still holds, nor if its saved state was removed.
        """
        part = part_of(record.purpose)
        end = self._history.ends.get(part)
        if (end is not None and end.by == "noise" and self.space.budget.until_noise) or self._models is None:
            return False
        begins = part == "search" and not record.saved  # the confirmation's source begins its reruns again by itself
        return self._exceeded(part) is None and (begins or self._models.can_resume(record))

    def _limits(self, part: Part) -> Budget | Confirm:
        return self.space.confirm if part == "confirm" else self.space.budget

    def _exceeded(self, part: Part) -> EndedBy | None:
        """Returns which limit a part of the sweep has exceeded, if any."""
        limits = self._limits(part)
        if limits.hours is None and (isinstance(limits, Confirm) or limits.gpu_hours is None):
            return None
        return exceeded(limits, self.held_seconds(part), self.gpu_seconds(part))

    def _notify(self, call: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                call(observer)
            except Exception as error:
                self._observers.remove(observer)
                self._remark(f"{type(observer).__name__} failed and is left out from now on: {first_line(error)}")

    def _remark(self, text: str) -> None:
        self._notify(lambda observer: observer.remark(text))


def exceeded(limits: Budget | Confirm, seconds: float, gpu_seconds: float) -> EndedBy | None:
    """Returns which limit is exceeded, if any.

    Args:
        limits: the budget of the search or of the confirmation.
        seconds: the seconds in which trials held a place.
        gpu_seconds: the seconds for which they held GPUs, summed over the GPUs.
    """
    if limits.hours is not None and seconds > 3600 * limits.hours:
        return "hours"
    if isinstance(limits, Budget) and limits.gpu_hours is not None and gpu_seconds > 3600 * limits.gpu_hours:
        return "gpu_hours"
    return None


class _NoSource:
    """A source without trials, which is used before the first call of `use`."""

    purposes: tuple[Purpose, ...] = ()
    total = 0
    enough = ""

    def ask(self) -> Planned | None:
        return None

    def add(self, params: Params) -> None: ...

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, record: TrialRecord) -> None: ...
