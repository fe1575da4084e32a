"""The trials of a sweep as its journal tells them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fervit.search.records.record import TrialRecord


class History:
    """Folds the events of a journal into records, one a trial."""

    def __init__(self, events: Iterable[dict[str, Any]] = ()) -> None:
        self.records: dict[str, TrialRecord] = {}
        """By name, in the order in which they started."""
        for event in events:
            self.apply(event)

    def apply(self, event: dict[str, Any]) -> TrialRecord | None:
        """Takes an event in; returns the record of its trial."""
        kind, name = event["event"], event.get("name")
        if kind == "start":
            keys = ("number", "name", "seed", "params", "purpose", "warmup_epochs")
            self.records[event["name"]] = TrialRecord(**{key: event[key] for key in keys})
        if name is None:
            return None
        record = self.records[name]
        if kind == "epoch":
            row = event["row"]
            # A trial that goes on after its process died repeats the epochs since its last save.
            record.epochs = [other for other in record.epochs if other["epoch"] < row["epoch"]] + [row]
            record.seconds = math.fsum(other["seconds"] for other in record.epochs)
            record.saved, record.finished, record.cost = event["saved"], event["finished"], event["cost"]
            record.started, record.ended, record.pid = event["started"], event["time"], event["pid"]
        elif kind == "again":
            record.epochs = [row for row in record.epochs if row["epoch"] <= event["epoch"]]
        elif kind == "end":
            record.state, record.failure = event["state"], event["failure"]
        return record
