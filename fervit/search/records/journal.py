"""The journal of a sweep, trials.jsonl: the events of its trials in order.

A sweep is resumed, replayed and reported from its journal. Only the driver process writes it. `events.py` describes the
lines.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fervit.errors import UserError
from fervit.io.json_lines import JsonLines
from fervit.search.records.events import FORMAT, EpochEnded, Event, SessionBegan, TrialPlaced, from_row, to_row

AnEvent = TypeVar("AnEvent", bound=Event)
SYNC_SHARE = 0.1
"""The largest share of the time that the driver may wait for the disk to sync epochs."""


class Journal(Protocol):
    """The store of a ledger's events."""

    @property
    def events(self) -> Iterable[Event]:
        """All events so far, in order, of earlier sessions and of this one. They can be read again and again."""
        ...

    @property
    def remarks(self) -> list[str]:
        """What the user must know of the events that were read, a line each."""
        ...

    @property
    def broken(self) -> UserError | None:
        """Why nothing is written any more; None as long as it is."""
        ...

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Adds an event with the current time, and returns it as it will be read later."""
        ...

    def close(self) -> None:
        """Closes the journal."""
        ...


class JournalReader:
    """The events of a journal on disk, which are read anew, one after the other, each time that they are iterated over.

    A last line that was cut off is left out, and so is a line that is damaged or that this version cannot read. A
    missing file has no events.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin()

    def __iter__(self) -> Iterator[Event]:
        self._begin()
        return self.new()

    def new(self) -> Iterator[Event]:
        """Yields the events that were added since the last reading."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._lines += 1
                try:
                    event = from_row(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError):
                    self._damaged.append(self._lines)
                    continue
                if isinstance(event, SessionBegan) and event.format > FORMAT:
                    self._later = event.version or "of a later version"
                if event is not None:
                    yield event

    @property
    def remarks(self) -> list[str]:
        """What the reading met that the user must know, a line each: damaged lines, and a later version."""
        return list(self._remarks(self._damaged, self._later))

    def _begin(self) -> None:
        self._offset = self._lines = 0
        self._damaged: list[int] = []
        self._later = ""

    def _remarks(self, damaged: list[int], later: str) -> Iterator[str]:
        if damaged:
            which = ", ".join(map(str, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
            lines = f"lines {which} are" if len(damaged) > 1 else f"line {which} is"
            yield f"{self.path}: {lines} damaged or of another version, and left out: what stood there is lost"
        if later:
            yield f"{self.path}: was written by fervit {later}; what this version does not know is passed over"


class JournalFile:
    """A journal on disk. When `append` returns, the event is in the file, even if the process is killed right after.

    It outlives a power cut, too, but for epochs that were reported faster than the disk syncs (`SYNC_SHARE`). Of those
    the last ones may be lost; the ledger says so when their trial goes on.

    It notices when another command writes to the same file, which on a share without locks nothing prevents. Then it
    writes no more, so that the other's lines stay whole.

    Args:
        path: the path of the file, which may exist. A last line that a kill cut off is removed.
        clock: returns the Unix time of the events in seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.events = JournalReader(path)
        self._clock = clock
        self.session = uuid.uuid4().hex[:12]
        """A random name for this session."""
        self._broken: UserError | None = None
        self._lines = JsonLines(path)
        self._size = path.stat().st_size
        self._synced_at, self._sync_seconds = time.monotonic(), 0.0

    @property
    def remarks(self) -> list[str]:
        """What the user must know of the events that were read, a line each."""
        return self.events.remarks

    @property
    def broken(self) -> UserError | None:
        """Why nothing is written any more: another command writes to the file. None as long as none does."""
        try:
            same = self._lines.path.stat().st_size == self._size
        except OSError:  # a file that is gone has no second writer
            same = True
        if self._broken is None and not same:
            self._broken = UserError(
                f"{self._lines.path}: another command writes to this sweep, so this one ends; let that one go on, "
                "or end it and give --resume again"
            )
        return self._broken

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Appends an event with the current time to the file, and returns it."""
        if kind is SessionBegan:
            values["session"] = self.session
        event = kind(time=round(self._clock(), 3), **values)
        if self.broken is None:
            try:
                self._size += self._lines.append(to_row(event))
                self._sync(event)
            except OSError:  # a full disk may have taken a part of it
                with suppress(OSError):
                    self._size = self._lines.path.stat().st_size
                raise
        return event

    def close(self) -> None:
        """Closes the file, and makes all events outlive a power cut."""
        with suppress(OSError):  # what is wrong with the disk has been said
            self._lines.sync()
        self._lines.close()

    def _sync(self, event: Event) -> None:
        started = time.monotonic()
        minor = isinstance(event, EpochEnded | TrialPlaced)
        if minor and (started - self._synced_at) * SYNC_SHARE < self._sync_seconds:
            return
        self._lines.sync()
        self._synced_at = time.monotonic()
        self._sync_seconds = self._synced_at - started


class JournalInMemory:
    """A journal that is not kept, such as that of a replay.

    Args:
        clock: returns the time of the events in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.events: Iterable[Event] = ()
        self.remarks: list[str] = []
        self.broken: UserError | None = None
        self._clock = clock

    def append(self, kind: Callable[..., AnEvent], **values: Any) -> AnEvent:
        """Returns an event with the current time."""
        return kind(time=self._clock(), **values)

    def close(self) -> None:
        """Does nothing."""


def read_journal(path: Path) -> list[Event]:
    """Reads the events of a journal; see `JournalReader`, which takes no memory for those that have been read."""
    return list(JournalReader(path))
