"""Where the time of a sweep went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fervit.search.records.events import EpochEnded, Event, SessionBegan
from fervit.search.records.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A trial, or a part of one that went on after a crash, in the timeline: which slot, from when to when.

    In seconds since the sweep began, pauses left out.
    """

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
    """No trial in the slot, or one that failed before its first epoch."""
    lanes: tuple[Lane, ...]


def account(events: Sequence[Event], records: Sequence[TrialRecord], train_rows: int) -> Times | None:
    """Puts a sweep's time together from its journal; None before the first epoch.

    Args:
        events: of the journal.
        records: of all its trials and reruns.
        train_rows: of the training split.
    """
    clock, stays = _sweep_clock(events), _stays(events)
    if not stays:
        return None
    of_name = {record.name: record for record in records}
    lanes: list[Lane] = []
    free: list[float] = []
    for name, started, ended in stays:
        begin, end = clock(started), clock(ended)
        slot = next((i for i, until in enumerate(free) if until <= begin + 0.5), len(free))
        free[slot:] = [end, *free[slot + 1 :]]
        lanes.append(Lane(record=of_name[name], slot=slot, begin=begin, end=end))
    rows = [event.row for event in events if isinstance(event, EpochEnded)]
    epochs = sum(row.seconds for row in rows)
    training = min(epochs, sum(train_rows / row.samples_per_second for row in rows))
    elapsed = clock(events[-1].time)
    starting = max(0.0, sum(lane.end - lane.begin for lane in lanes) - epochs)
    return Times(
        elapsed=elapsed,
        slots=len(free),
        training=training,
        validation=epochs - training,
        starting=starting,
        idle=max(0.0, elapsed * len(free) - epochs - starting),
        lanes=tuple(lanes),
    )


def _stays(events: Sequence[Event]) -> list[tuple[str, float, float]]:
    """(trial, begin, end) of each time that a process had a trial, by their begins; one that crashed has several."""
    ends: dict[tuple[str, float], float] = {}
    for event in events:
        if isinstance(event, EpochEnded):
            ends[event.name, event.started] = event.time
    return sorted(((name, started, ended) for (name, started), ended in ends.items()), key=lambda stay: stay[1])


def _sweep_clock(events: Sequence[Event]) -> Callable[[float], float]:
    """Unix time -> seconds of the sweep, the pauses between its sessions left out."""
    sessions: list[list[float]] = []
    for event in events:
        if isinstance(event, SessionBegan):
            sessions.append([event.time, event.time])
        elif sessions:
            sessions[-1][1] = event.time

    def clock(time: float) -> float:
        return sum(min(max(time - begin, 0.0), end - begin) for begin, end in sessions)

    return clock
