"""The journal of a sweep, trials.jsonl: the events of its trials in order.

A sweep is resumed, replayed and reported from its journal. Only the driver process writes it. `events.py` describes the
lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fervit.errors import UserError
from fervit.json_lines import JsonLines, read_rows
from fervit.search.records.events import Event, SessionBegan, from_row, to_row

AnEvent = TypeVar("AnEvent", bound=Event)


class Journal(Protocol):
    """The store of a ledger's events."""

    earlier: Sequence[Event]
    """The events that the journal held when it was opened."""

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Adds an event with the current time, and returns it as it will be read later."""
        ...

    def close(self) -> None:
        """Closes the journal."""
        ...


class JournalFile:
    """A journal on disk. When `append` returns, the event is in the file, even if the process is killed right after.

    Args:
        path: the path of the file, which may exist. A last line that a kill cut off is removed.

    Raises:
        UserError: a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.earlier: Sequence[Event] = read_journal(path)
        self._lines = JsonLines(path)

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Appends an event with the current time to the file, and returns it."""
        event = kind(time=round(time.time(), 3), **values)
        self._lines.append(to_row(event))
        return event

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


class JournalInMemory:
    """A journal that is not kept, such as that of a replay.

    Args:
        clock: returns the time of the events in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.earlier: Sequence[Event] = ()
        self._clock = clock

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Returns an event with the current time."""
        return kind(time=self._clock(), **values)

    def close(self) -> None:
        """Does nothing."""


def read_journal(path: Path) -> list[Event]:
    """Reads the events of a journal, without a last line that was cut off. A missing file has no events.

    Raises:
        UserError: a line before the last is damaged.
    """
    events = []
    for i, row in enumerate(read_rows(path)):
        try:
            event = from_row(row)
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: line {i + 1} is damaged; remove that line, and what it tells is lost") from None
        if event is not None:
            events.append(event)
    return events


def elapsed_seconds(events: Iterable[Event]) -> float:
    """Returns the seconds that all sessions took together, each from its start to its last event."""
    total = start = last = 0.0
    for event in events:
        if isinstance(event, SessionBegan):
            total, start = total + last - start, event.time
        last = event.time
    return total + last - start
