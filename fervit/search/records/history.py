"""The trials of a sweep as its journal tells them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fervit.search.records.events import (
    EpochEnded,
    Event,
    ModelChosen,
    SessionBegan,
    SweepDone,
    TrialEnded,
    TrialStarted,
    TrialWentOn,
)
from fervit.search.records.record import TrialRecord


class History:
    """Folds the events of a journal into records, one for each trial."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.records: dict[str, TrialRecord] = {}
        """By name, in the order in which the trials started."""
        self.choice: ModelChosen | None = None
        """The last choice; None before the first, and in journals of versions before 0.2."""
        self.sessions = 0
        """How many commands have worked on the sweep."""
        self.done = self.was_done = False
        """Whether the last session, and whether any, came to its end."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> TrialRecord | None:
        """Takes an event in; returns the record of its trial, None for an event of the sweep."""
        if isinstance(event, ModelChosen):
            self.choice = event
        if isinstance(event, SessionBegan | ModelChosen | SweepDone):
            self.sessions += isinstance(event, SessionBegan)
            self.done = isinstance(event, SweepDone)
            self.was_done = self.was_done or self.done
            return None
        if isinstance(event, TrialStarted):
            self.records[event.name] = TrialRecord(
                number=event.number,
                name=event.name,
                seed=event.seed,
                params=event.params,
                purpose=event.purpose,
                warmup_epochs=event.warmup_epochs,
            )
        record = self.records[event.name]
        if isinstance(event, EpochEnded):
            # A trial that goes on after its process died repeats the epochs since its last save.
            record.epochs = [epoch for epoch in record.epochs if epoch.epoch < event.row.epoch] + [event.row]
            record.seconds = math.fsum(epoch.seconds for epoch in record.epochs)
            record.saved, record.finished, record.cost = event.saved, event.finished, event.cost
            record.started, record.ended, record.pid = event.started, event.time, event.pid
        elif isinstance(event, TrialWentOn):
            record.epochs = [epoch for epoch in record.epochs if epoch.epoch <= event.epoch]
        elif isinstance(event, TrialEnded):
            record.state, record.failure = event.state, event.failure
        return record
