"""trials.jsonl: all that happened to a sweep's trials, in order. From it a sweep is resumed, replayed and reported.

A line of JSON an event, written by the driver alone:

    {"event": "session", "time": ...}                     a command began to work on the sweep
    {"event": "start", "time": ..., "name": "trial_0003", "number": 3, "seed": 42, "purpose": "search", "params": {...}}
    {"event": "epoch", "time": ..., "name": "trial_0003", "row": {...}, "best_value": ..., "saved": ...}
    {"event": "again", "time": ..., "name": "trial_0003", "epoch": 4}    its process died; it goes on after this epoch
    {"event": "end", "time": ..., "name": "trial_0003", "state": "stopped", "failure": ""}
    {"event": "done", "time": ...}                        all trials, the confirmation and the evaluation have ended
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fervit.errors import UserError

FILE = "trials.jsonl"


class Journal:
    """Appends events; each is whole on disk when `append` returns, whatever kills the process then.

    Args:
        path: of the file, which may exist; a line that was cut off by a kill is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        drop_torn_line(path)
        self._file = path.open("ab", buffering=0)

    def append(self, event: str, **values: Any) -> dict[str, Any]:
        """Writes an event, and returns it as it will be read."""
        whole = {"event": event, "time": round(time.time(), 3), **values}
        line = memoryview(json.dumps(whole).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]
        return whole

    def close(self) -> None:
        self._file.close()


def drop_torn_line(path: Path) -> None:
    """Removes a last line that a kill cut off."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The events of a sweep, without a line that was cut off.

    Raises:
        UserError: a line before the last is damaged.
    """
    events = []
    lines = path.read_bytes().split(b"\n")
    for i, line in enumerate(lines[:-1]):
        try:
            events.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}: line {i + 1} is damaged; remove that line, and what it tells is lost") from None
    return events


def elapsed_seconds(events: Iterable[dict[str, Any]]) -> float:
    """What all sessions took together, each from its start to its last event."""
    total = start = last = 0.0
    for event in events:
        if event["event"] == "session":
            total, start = total + last - start, event["time"]
        last = event["time"]
    return total + last - start
