"""Accounts for the time of a sweep: training, validation, starting of trials, and idle slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fervit.search.records.events import EpochEnded, Event, SessionBegan
from fervit.search.records.record import TrialRecord
from fervit.search.records.spent import Spent


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


class Timing:
    """Adds up how the time of a sweep was spent, from the events of its journal one after the other."""

    def __init__(self) -> None:
        self._spent = Spent()
        self._session = 0.0
        """The seconds of all sessions before the current one."""
        self._stays: dict[tuple[str, float], tuple[float, float]] = {}
        """The begin and the end of each stay of a trial in a process, in seconds since the sweep began without pauses
        between sessions, by the trial's name and the Unix time of the begin."""
        self._epochs = 0.0
        self._per_row: dict[str, float] = {}
        """The seconds that one row of the training split took, summed over the epochs of each trial, by its name."""

    def apply(self, event: Event) -> None:
        """Adds an event."""
        self._spent.apply(event)
        now = self._spent.elapsed
        if isinstance(event, SessionBegan):
            self._session = now
        elif isinstance(event, EpochEnded):
            stay = (event.name, event.started)
            begin = self._stays[stay][0] if stay in self._stays else now - (event.time - event.started)
            self._stays[stay] = min(max(begin, self._session), now), now
            self._epochs += event.row.seconds
            if event.row.samples_per_second:
                self._per_row[event.name] = self._per_row.get(event.name, 0.0) + 1 / event.row.samples_per_second

    def account(
        self, records: Sequence[TrialRecord], train_rows: int, fractions: Mapping[str, float] | None = None
    ) -> Times | None:
        """Computes how the time of the sweep was spent; None before the first epoch.

        Args:
            records: the trials and reruns of the sweep.
            train_rows: the number of rows of the training split.
            fractions: the share of these rows that each trial is trained on, by its name (`data_fraction`); 1 for
                others.
        """
        of_name = {record.name: record for record in records}
        stays = [(name, *stay) for (name, _), stay in self._stays.items() if name in of_name]
        elapsed = self._spent.elapsed
        if not stays or not elapsed:
            return None
        lanes: list[Lane] = []
        free: list[float] = []
        for name, begin, end in sorted(stays, key=lambda stay: stay[1]):
            slot = next((i for i, until in enumerate(free) if until <= begin + 0.5), len(free))
            free[slot:] = [end, *free[slot + 1 :]]
            lanes.append(Lane(record=of_name[name], slot=slot, begin=begin, end=end))
        shares = fractions or {}
        rows = sum(train_rows * shares.get(name, 1.0) * seconds for name, seconds in self._per_row.items())
        training = min(self._epochs, rows)
        starting = max(0.0, sum(lane.end - lane.begin for lane in lanes) - self._epochs)
        return Times(
            elapsed=elapsed,
            slots=len(free),
            training=training,
            validation=self._epochs - training,
            starting=starting,
            idle=max(0.0, elapsed * len(free) - self._epochs - starting),
            lanes=tuple(lanes),
        )


def account(
    events: Iterable[Event],
    records: Sequence[TrialRecord],
    train_rows: int,
    fractions: Mapping[str, float] | None = None,
) -> Times | None:
    """Computes how the time of a sweep was spent from all its events; see `Timing`."""
    timing = Timing()
    for event in events:
        timing.apply(event)
    return timing.account(records, train_rows, fractions)
