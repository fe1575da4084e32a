"""Rebuilds the trials of a sweep from the events of its journal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from fervit.search.records.epochs import Epochs
from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    PartEnded,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialPaused,
    TrialResumed,
    TrialReturned,
    TrialsExpected,
    TrialStarted,
    TrialWentOn,
    UserAsked,
    part_of,
)
from fervit.search.records.record import TrialRecord
from fervit.search.space.search_space import Params

SweepEvent = SessionBegan | TrialsExpected | UserAsked | PartEnded | ModelChosen | SweepDone
"""An event that concerns the whole sweep."""


class History:
    """Turns the events of a journal into records, one for each trial."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.records: dict[str, TrialRecord] = {}
        """The record of each trial under its name, in the order in which the trials started."""
        self.choice: ModelChosen | None = None
        """The last choice of a model; None before the first one, and in journals of versions before 0.2."""
        self.ends: dict[str, PartEnded] = {}
        """Why the search and the confirmation ended before their last trial, by the name of the part."""
        self.sessions = 0
        """How many commands have worked on the sweep."""
        self.done = self.was_done = False
        """`done`: whether the last session completed the sweep; `was_done`: whether any session did."""
        self.asked: set[str] = set()
        """The names of the requests of users that have been taken up."""
        self.to_stop: set[str] = set()
        """The names of the trials that users asked to stop."""
        self.to_keep: set[str] = set()
        """The names of the trials that users asked to keep."""
        self.added: list[Params] = []
        """The configurations that users added."""
        self.wanted: list[Params] = []
        """Those of them that have not begun."""
        self.on_hold = False
        """Whether users asked that no further trials begin."""
        self.expects = False
        """Whether the search has gone on since the confirmation knows which configurations it takes."""
        self.unknown: Counter[str] = Counter()
        """The names of trials whose start is missing, with the number of their events, which are passed over."""
        for event in events:
            self.apply(event)

    @property
    def remark(self) -> str:
        """A line about events of trials whose start is missing; "" if there are none."""
        if not self.unknown:
            return ""
        names = ", ".join(sorted(self.unknown)[:3]) + (", ..." if len(self.unknown) > 3 else "")
        return (
            f"{sum(self.unknown.values())} events of {names} are left out, since the line of their start is missing; "
            "a sweep that goes on tries others in their place"
        )

    def apply(self, event: Event) -> TrialRecord | None:
        """Applies an event and returns the record of its trial.

        Returns None for an event that concerns the whole sweep, or a trial whose start is missing.
        """
        if isinstance(event, SweepEvent):
            self._apply_to_sweep(event)
            return None
        if isinstance(event, TrialStarted):
            self.records[event.name] = TrialRecord(
                number=event.number,
                name=event.name,
                seed=event.seed,
                params=event.params,
                purpose=event.purpose,
                warmup_epochs=event.warmup_epochs,
                fold=event.fold,
                folds=event.folds,
            )
            if event.purpose == "search":
                self._has_begun(event.params)
        record = self.records.get(event.name)
        if record is None:
            self.unknown[event.name] += 1
            return None
        if isinstance(event, EpochEnded):
            # A trial that continues after its process died trains the epochs since its last save again.
            _forget_from(record, event.row.epoch)
            record.epochs.append(event.row)
            record.seconds += event.row.seconds
            record.saved, record.finished, record.cost = event.saved, event.finished, event.cost
            record.started, record.ended, record.pid = event.started, event.time, event.pid
        elif isinstance(event, TrialWentOn):
            _forget_from(record, event.epoch + 1)
        elif isinstance(event, TrialPaused):
            record.paused, record.why = True, paused_because(event.epoch, event.why)
        elif isinstance(event, TrialReturned):
            record.paused, record.why = False, returned_because(event.epoch, event.why)
        elif isinstance(event, TrialEnded):
            record.state, record.failure, record.cut = event.state, event.failure, event.cut
            record.paused = record.paused and event.cut  # which pauses still when it is resumed
            if event.why:
                record.why = stopped_because(record.last_epoch, event.why)
        elif isinstance(event, TrialResumed):
            record.state, record.cut = "running", False
        if isinstance(event, TrialStarted | TrialResumed):  # the part has not ended after all
            self.ends.pop(part_of(record.purpose), None)
            if part_of(record.purpose) == "search":
                self.expects = True
            elif isinstance(event, TrialStarted):
                self.expects = False
        return record

    def _has_begun(self, params: Params) -> None:
        """Takes a configuration that a user added off the list of those that have not begun."""
        given = (one for one in self.wanted if one.items() <= params.items())  # the sampler may have added to it
        if (wanted := next(given, None)) is not None:
            self.wanted.remove(wanted)

    def _answer(self, event: UserAsked) -> None:
        self.asked.add(event.request)
        match event.action:
            case "stop":
                self.to_stop.add(event.name)
                self.to_keep.discard(event.name)
            case "keep":
                self.to_keep.add(event.name)
                self.to_stop.discard(event.name)
            case "add":
                self.added.append(event.params)
                self.wanted.append(event.params)
            case "pause" | "go":
                self.on_hold = event.action == "pause"

    def _apply_to_sweep(self, event: SweepEvent) -> None:
        if isinstance(event, UserAsked):
            self._answer(event)
        elif isinstance(event, TrialsExpected):
            self.expects = False
            for record in self.records.values():
                record.expected = event.values.get(record.name)
        elif isinstance(event, ModelChosen):
            self.choice = event
        elif isinstance(event, PartEnded):
            self.ends[event.part] = event
        self.sessions += isinstance(event, SessionBegan)
        self.done = isinstance(event, SweepDone)
        self.was_done = self.was_done or self.done


def paused_because(epoch: int, why: str) -> str:
    """Returns why a trial paused, in a line."""
    return f"paused at epoch {epoch}: {why}" if epoch else f"has not begun: {why}" if why else "has not begun"


def stopped_because(epoch: int, why: str) -> str:
    """Returns why a paused trial was stopped, in a line."""
    return f"stopped at epoch {epoch}: {why}" if epoch else f"never begun: {why}"


def returned_because(epoch: int, why: str) -> str:
    """Returns why a trial went on, in a line."""
    return f"went on after epoch {epoch}: {why}" if epoch else f"began: {why}"


def _forget_from(record: TrialRecord, epoch: int) -> None:
    """Removes the epochs from `epoch` on, which are trained again."""
    if record.last_epoch < epoch:
        return
    epochs, kept = record.epochs, len(record.epochs)
    while kept and (epochs.number(kept - 1) if isinstance(epochs, Epochs) else epochs[kept - 1].epoch) >= epoch:
        kept -= 1
    if kept < len(record.epochs):
        del record.epochs[kept:]
        record.seconds = math.fsum(row.seconds for row in record.epochs)
