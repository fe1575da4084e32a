"""Where the time of a sweep went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fervit.search.selection import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A trial in the timeline: which slot, from when to when, in seconds since the sweep began, pauses left out."""

    record: TrialRecord
    slot: int
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Times:
    """Slot-seconds: one slot for one second."""

    elapsed: float
    """Seconds of all sessions."""
    slots: int
    """The most trials that ran at once."""
    training: float
    """In training steps."""
    validation: float
    """The rest of the epochs: validation."""
    starting: float
    """In trials but in no epoch: starting, saving, being decided about."""
    idle: float
    """No trial in the slot."""
    lanes: tuple[Lane, ...]


def account(events: Sequence[dict[str, Any]], records: Sequence[TrialRecord], train_rows: int) -> Times | None:
    """Puts a sweep's time together from its journal; None before the first epoch.

    Args:
        events: of the journal.
        records: of all its trials and reruns.
        train_rows: of the training split.
    """
    clock = _sweep_clock(events)
    begun = [record for record in records if record.epochs and record.started]
    if not begun:
        return None
    lanes: list[Lane] = []
    free: list[float] = []
    for record in sorted(begun, key=lambda record: record.started):
        begin, end = clock(record.started), clock(record.ended)
        slot = next((i for i, until in enumerate(free) if until <= begin + 0.5), len(free))
        free[slot:] = [end, *free[slot + 1 :]]
        lanes.append(Lane(record=record, slot=slot, begin=begin, end=end))
    rows = [event["row"] for event in events if event["event"] == "epoch"]
    epochs = sum(row["seconds"] for row in rows)
    share = [train_rows * row.get("data_fraction", 1.0) / row["samples_per_second"] for row in rows]
    training = min(epochs, sum(share))
    elapsed = clock(events[-1]["time"])
    within = sum(lane.end - lane.begin for lane in lanes)
    starting = max(0.0, within - epochs)
    return Times(
        elapsed=elapsed,
        slots=len(free),
        training=training,
        validation=epochs - training,
        starting=starting,
        idle=max(0.0, elapsed * len(free) - epochs - starting),
        lanes=tuple(lanes),
    )


def _sweep_clock(events: Sequence[dict[str, Any]]) -> Callable[[float], float]:
    """Unix time -> seconds of the sweep, the pauses between its sessions left out."""
    sessions: list[list[float]] = []
    for event in events:
        if event["event"] == "session":
            sessions.append([event["time"], event["time"]])
        elif sessions:
            sessions[-1][1] = event["time"]

    def clock(time: float) -> float:
        return sum(min(max(time - begin, 0.0), end - begin) for begin, end in sessions)

    return clock
