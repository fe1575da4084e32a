"""Measures what a sweep has spent, from the events of its journal: hours and GPU-hours.

The hours of the search are those in which at least one of its trials held a place: they do not run while nothing could
start, such as behind another sweep or before an autoscaler's first node, nor between sessions. GPU-hours count all the
time in which trials held GPUs, in their epochs and between them. Seconds are those of each session's own monotonic
clock, so that no one who sets the machine's clock changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fervit.search.records.events import (
    EpochEnded,
    Event,
    Part,
    ProcessLost,
    SessionBegan,
    TrialEnded,
    TrialPaused,
    TrialPlaced,
    TrialStarted,
    part_of,
)

PLAUSIBLE_S = 3600.0
"""The longest gap between two events of a journal without a monotonic clock that is believed, unless an epoch lasted
longer: the gap may be that of a clock which was set."""


@dataclass
class Spent:
    """The seconds that a sweep has spent. It is given the events of the journal in order."""

    gpus: float = 0.0
    """The GPUs of a trial, for journals of versions before 0.2, which do not say."""
    elapsed: float = 0.0
    """The seconds of all sessions together, each from its start to its last event."""
    of_part: dict[Part, float] = field(default_factory=lambda: {"search": 0.0, "confirm": 0.0})
    """The seconds in which the trials of a part held a place."""
    gpu_of_part: dict[Part, float] = field(default_factory=lambda: {"search": 0.0, "confirm": 0.0})
    """The seconds for which the trials of a part held a GPU, summed over the GPUs."""
    _placed: dict[str, tuple[Part, float]] = field(default_factory=dict)
    """The trials that hold a place, with the GPUs of each."""
    _held: dict[Part, float] = field(default_factory=dict)
    """The parts of which trials hold a place, with the GPUs that these hold together."""
    _parts: dict[str, Part] = field(default_factory=dict)
    _last: float = 0.0
    """The time of the last event, by the clock of its session."""

    @property
    def n_placed(self) -> int:
        """How many trials hold a place."""
        return len(self._placed)

    def apply(self, event: Event) -> None:
        """Counts the time up to an event."""
        if isinstance(event, SessionBegan):
            self._placed.clear()
            self._count()
            self._last = event.time if event.at is None else event.at
            return
        if isinstance(event, TrialStarted):
            self._parts[event.name] = part_of(event.purpose)
        if event.at is not None:
            self._advance(event.at)
        else:
            self._advance_by_wall_clock(event)
        if isinstance(event, TrialPlaced):
            self._placed[event.name] = (self._parts.get(event.name, "search"), event.gpus)
            self._count()
        elif (
            isinstance(event, TrialEnded | TrialPaused | ProcessLost) and self._placed.pop(event.name, None) is not None
        ):
            self._count()

    def elapsed_until(self, at: float) -> float:
        """Returns `elapsed` up to a moment after the last event, in seconds since the session began."""
        return self.elapsed + max(0.0, at - self._last)

    def of_part_until(self, part: Part, at: float) -> float:
        """Returns `of_part` up to a moment after the last event, in seconds since the session began."""
        return self.of_part[part] + (max(0.0, at - self._last) if part in self._held else 0.0)

    def gpu_of_part_until(self, part: Part, at: float) -> float:
        """Returns `gpu_of_part` up to a moment after the last event, in seconds since the session began."""
        gpus = self._held.get(part, 0.0)
        return self.gpu_of_part[part] + gpus * max(0.0, at - self._last)

    def _advance(self, at: float) -> None:
        """Counts the time up to an event."""
        gap = at - self._last
        if gap <= 0:
            return
        self.elapsed += gap
        for part, gpus in self._held.items():
            self.of_part[part] += gap
            self.gpu_of_part[part] += gpus * gap
        self._last = at

    def _count(self) -> None:
        """Counts what the trials that hold a place hold together."""
        held: dict[Part, float] = {}
        for part, gpus in self._placed.values():
            held[part] = held.get(part, 0.0) + gpus
        self._held = held  # replaced whole, since other threads read it

    def _advance_by_wall_clock(self, event: Event) -> None:
        """Counts the time up to an event of a journal of an earlier version, without leaps of the machine's clock."""
        longest = max(PLAUSIBLE_S, 2 * event.row.seconds) if isinstance(event, EpochEnded) else PLAUSIBLE_S
        gap = min(max(0.0, event.time - self._last), longest)
        self._last = event.time
        self.elapsed += gap
        part = self._parts.get(getattr(event, "name", ""))
        if part is not None:
            self.of_part[part] += gap
            if isinstance(event, EpochEnded):
                self.gpu_of_part[part] += self.gpus * event.row.seconds
