"""trials.jsonl: all that happened to a sweep's trials, in order. From it a sweep is resumed, replayed and reported.

The driver alone writes it. `events.py` says what each line holds.
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
    """Where a ledger keeps its events."""

    earlier: Sequence[Event]
    """The events that stood there when it was opened."""

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Adds an event of this time, and returns it as it will be read."""
        ...

    def close(self) -> None:
        """Ends the work with it."""
        ...


class JournalFile:
    """A journal on disk. Each event is whole in the file when `append` returns, whatever kills the process then.

    Args:
        path: of the file, which may exist; a line that was cut off by a kill is removed.

    Raises:
        UserError: a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.earlier: Sequence[Event] = read_journal(path)
        self._lines = JsonLines(path)

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Adds an event of this time, and returns it."""
        event = kind(time=round(time.time(), 3), **values)
        self._lines.append(to_row(event))
        return event

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


class JournalInMemory:
    """A journal that nobody reads later, such as that of a replay.

    Args:
        clock: gives the time of its events, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.earlier: Sequence[Event] = ()
        self._clock = clock

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Returns an event of this time."""
        return kind(time=self._clock(), **values)

    def close(self) -> None:
        """Does nothing."""


def read_journal(path: Path) -> list[Event]:
    """The events of a sweep, without a line that was cut off; none if there is no such file.

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
    """Seconds that all sessions took together, each from its start to its last event."""
    total = start = last = 0.0
    for event in events:
        if isinstance(event, SessionBegan):
            total, start = total + last - start, event.time
        last = event.time
    return total + last - start
