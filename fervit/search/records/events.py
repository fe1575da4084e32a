"""The events of a sweep's journal, and how they are written as lines of JSON and read again.

Each event is one line of JSON, with its kind under `event` and the Unix time in seconds under `time`:

    {"event": "session", "time": ..., "job": ""}          a command began to work on the sweep, in a batch job or none
    {"event": "start", "time": ..., "name": "trial_0003", "number": 3, "seed": 42, "purpose": "search", "params": {...}}
    {"event": "epoch", "time": ..., "name": "trial_0003", "row": {...}, "best_value": ..., "saved": ...}
    {"event": "again", "time": ..., "name": "trial_0003", "epoch": 4}    its process died; it continues after this epoch
    {"event": "end", "time": ..., "name": "trial_0003", "state": "stopped", "failure": ""}
    {"event": "chosen", "time": ..., "number": 3, "seed": 44, "epoch": 17, "confirmed": [3, 8], "ties": [8]}
    {"event": "done", "time": ...}                        all trials, the confirmation and the evaluation have ended
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fervit.json_lines import Row
from fervit.search.space.search_space import Params
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure

TrialState = Literal["running", "finished", "stopped", "failed"]
Purpose = Literal["search", "noise", "confirm"]


@dataclass(frozen=True, kw_only=True)
class SessionBegan:
    """A command began to work on the sweep."""

    time: float
    job: str = ""
    """The batch job that the command runs in, such as "slurm 1234, start 2"; "" for none."""


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial started for the first time."""

    time: float
    name: str
    number: int
    seed: int
    purpose: Purpose
    params: Params
    warmup_epochs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """A trial reported an epoch."""

    time: float
    name: str
    row: EpochResult
    best_value: float
    """The best value of the metric that the trial has reached so far."""
    finished: bool
    """Whether the epoch was the last one of the trial."""
    saved: int
    """The last saved epoch, from which the trial can continue."""
    started: float
    """The Unix time at which the process began to work on the trial."""
    pid: int
    cost: float | None = None
    node: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialWentOn:
    """A trial continues after this saved epoch in a new process, which trains the later epochs again."""

    time: float
    name: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ProcessLost:
    """The process of a trial died, and the trial waits for another process."""

    time: float
    name: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial ended."""

    time: float
    name: str
    state: TrialState
    failure: Failure | None = None
    """Why the trial failed, without the traceback; None if it did not fail."""


@dataclass(frozen=True, kw_only=True)
class ModelChosen:
    """The sweep chose the run whose model is exported. A later choice replaces an earlier one."""

    time: float
    number: int
    """The number of the configuration's trial."""
    seed: int
    epoch: int
    """The epoch of that run whose model is exported, from 1."""
    confirmed: tuple[int, ...] = ()
    """The numbers of the trials that were confirmed with fresh seeds, the best of the search first."""
    ties: tuple[int, ...] = ()
    """The numbers of the confirmed trials that are not significantly worse than the chosen one."""


@dataclass(frozen=True, kw_only=True)
class SweepDone:
    """A session has completed all trials, the confirmation and the evaluation."""

    time: float


TrialEvent = TrialStarted | EpochEnded | TrialWentOn | ProcessLost | TrialEnded
Event = SessionBegan | TrialEvent | ModelChosen | SweepDone
KINDS: dict[str, type[Any]] = {
    "session": SessionBegan,
    "start": TrialStarted,
    "epoch": EpochEnded,
    "again": TrialWentOn,
    "lost": ProcessLost,
    "end": TrialEnded,
    "chosen": ModelChosen,
    "done": SweepDone,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def to_row(event: Event) -> Row:
    """Returns an event as the fields of a journal line."""
    row: Row = {"event": NAMES[type(event)]}
    for one in dataclasses.fields(event):
        value = getattr(event, one.name)
        if isinstance(value, EpochResult):
            value = value.to_json()
        elif one.name == "failure":
            value = str(value) if value is not None else ""
        row[one.name] = list(value) if isinstance(value, tuple) else value
    return row


def from_row(row: Mapping[str, Any]) -> Event | None:
    """Reads an event that `to_row` of this or an earlier version wrote; None if its kind is unknown to this version.

    Raises:
        KeyError: a field is missing.
        TypeError: a field has the wrong type.
    """
    kind = KINDS.get(row["event"])
    if kind is None:
        return None
    values = {one.name: row[one.name] for one in dataclasses.fields(kind) if one.name in row}
    if kind is EpochEnded:
        values["row"] = EpochResult.from_json(values["row"])
    elif kind is TrialEnded:
        values["failure"] = Failure.parse(values.get("failure") or "")
    elif kind is ModelChosen:
        values |= {name: tuple(values.get(name, ())) for name in ("confirmed", "ties")}
    event: Event = kind(**values)
    return event
