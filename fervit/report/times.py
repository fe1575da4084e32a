"""Accounts for the time of a sweep: training, validation, starting of trials, and idle slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fervit.search.records.events import EpochEnded, Event, SessionBegan
from fervit.search.records.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A trial in the timeline of a sweep. A trial that continued after a crash has several of them.

    `begin` and `end` are in seconds since the sweep began, without the pauses between sessions. `slot` is the number of
    the slot that the trial occupied, from 0.
    """

    record: TrialRecord
    slot: int
    begin: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Times:
    """How the time of a sweep was spent, in slot-seconds (one slot for one second) unless stated otherwise."""

    elapsed: float
    """The seconds that all sessions took together."""
    slots: int
    """The largest number of trials that ran at once."""
    training: float
    """The time of training steps."""
    validation: float
    """The time of validation, which is the rest of the epochs."""
    starting: float
    """The time of trials outside their epochs: starting, saving, and waiting for the driver."""
    idle: float
    """The time in which a slot had no trial, or one that failed before its first epoch."""
    lanes: tuple[Lane, ...]


def account(
    events: Sequence[Event],
    records: Sequence[TrialRecord],
    train_rows: int,
    fractions: Mapping[str, float] | None = None,
) -> Times | None:
    """Computes how the time of a sweep was spent; None before the first epoch.

    Args:
        events: the events of the journal.
        records: the trials and reruns of the sweep.
        train_rows: the number of rows of the training split.
        fractions: the share of these rows that each trial is trained on, by its name (`data_fraction`); 1 for others.
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
    shares = fractions or {}
    ended = [event for event in events if isinstance(event, EpochEnded)]
    epochs = sum(event.row.seconds for event in ended)
    steps = sum(train_rows * shares.get(event.name, 1.0) / event.row.samples_per_second for event in ended)
    training = min(epochs, steps)
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
    """Returns (trial, begin, end) for each process that worked on a trial, sorted by begin, in Unix time."""
    ends: dict[tuple[str, float], float] = {}
    for event in events:
        if isinstance(event, EpochEnded):
            ends[event.name, event.started] = event.time
    return sorted(((name, started, ended) for (name, started), ended in ends.items()), key=lambda stay: stay[1])


def _sweep_clock(events: Sequence[Event]) -> Callable[[float], float]:
    """Returns a function that converts Unix time to seconds since the sweep began, without pauses between sessions."""
    sessions: list[list[float]] = []
    for event in events:
        if isinstance(event, SessionBegan):
            sessions.append([event.time, event.time])
        elif sessions:
            sessions[-1][1] = event.time

    def clock(time: float) -> float:
        return sum(min(max(time - begin, 0.0), end - begin) for begin, end in sessions)

    return clock
