"""Rebuilds the trials of a sweep from the events of its journal."""

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
    """Turns the events of a journal into records, one for each trial."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.records: dict[str, TrialRecord] = {}
        """The record of each trial under its name, in the order in which the trials started."""
        self.choice: ModelChosen | None = None
        """The last choice of a model; None before the first one, and in journals of versions before 0.2."""
        self.sessions = 0
        """How many commands have worked on the sweep."""
        self.done = self.was_done = False
        """`done`: whether the last session completed the sweep; `was_done`: whether any session did."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> TrialRecord | None:
        """Applies an event and returns the record of its trial; None for an event that concerns the whole sweep."""
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
            # A trial that continues after its process died trains the epochs since its last save again.
            record.epochs = [epoch for epoch in record.epochs if epoch.epoch < event.row.epoch] + [event.row]
            record.seconds = math.fsum(epoch.seconds for epoch in record.epochs)
            record.saved, record.finished, record.cost = event.saved, event.finished, event.cost
            record.started, record.ended, record.pid = event.started, event.time, event.pid
        elif isinstance(event, TrialWentOn):
            record.epochs = [epoch for epoch in record.epochs if epoch.epoch <= event.epoch]
        elif isinstance(event, TrialEnded):
            record.state, record.failure = event.state, event.failure
        return record
