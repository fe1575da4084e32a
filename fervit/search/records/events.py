"""The events of a sweep's journal, and how they are written as lines of JSON and read again.

Each event is one line of JSON, with its kind under `event`, the Unix time in seconds under `time`, and under `at` the
seconds since its session began, by a clock that no one sets (versions before 0.2 had no `at`):

    {"event": "session", "time": ..., "at": 0.0, "format": 2, "session": "5f0c...", "version": "0.2.0", "job": ""}
                                                          a command began to work on the sweep, in a batch job or none
    {"event": "start", "time": ..., "name": "trial_0003", "number": 3, "seed": 42, "purpose": "search", "params": {...}}
                                                          and "fold": 2, "folds": 5 where the purpose is "fold"
    {"event": "epoch", "time": ..., "name": "trial_0003", "row": {...}, "best_value": ..., "saved": ...}
    {"event": "placed", "time": ..., "name": "trial_0003", "gpus": 0.5}     it holds a place from now on
    {"event": "again", "time": ..., "name": "trial_0003", "epoch": 4}    its process died; it continues after this epoch
    {"event": "end", "time": ..., "name": "trial_0003", "state": "stopped", "failure": "", "cut": false}
    {"event": "paused", "time": ..., "name": "trial_0003", "epoch": 3, "why": "4 % to reach 0.41"}   its place is free
    {"event": "returned", "time": ..., "name": "trial_0003", "epoch": 3, "why": "22 % to reach 0.41"}   it goes on
    {"event": "expected", "time": ..., "values": {"trial_0003": 0.41, ...}}     at the end of a search with such a model
    {"event": "asked", "time": ..., "request": "0173...", "action": "stop", "name": "trial_0003"}   by launch/control.py
    {"event": "over", "time": ..., "part": "search", "by": "hours", "why": "the budget of 1 hours is spent ..."}
    {"event": "resumed", "time": ..., "name": "trial_0003"}     the budget had cut it; a larger one lets it go on
    {"event": "chosen", "time": ..., "number": 3, "seed": 44, "epoch": 17, "confirmed": [3, 8], "ties": [8]}
                                                          and "without_model": ["trial_0007"] if better runs lack one
    {"event": "done", "time": ...}                        all trials, the confirmation and the evaluation have ended
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from fervit.io.json_lines import Row
from fervit.search.space.search_space import Params
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure

TrialState = Literal["running", "finished", "stopped", "failed"]
Purpose = Literal["search", "noise", "confirm", "fold"]
Part = Literal["search", "confirm"]
"""A part of a sweep: the search, to which the measurement of the noise belongs, or the confirmation with its folds."""
Action = Literal["stop", "keep", "add", "pause", "go"]
"""What a user asks of a sweep that runs. `stop`: end a trial after its epoch; `keep`: never end or pause it early;
`add`: try a configuration; `pause`: begin no further trials; `go`: begin trials again."""
EndedBy = Literal["hours", "gpu_hours", "noise"]
"""What ended a part of a sweep before its last trial: a budget, or the noise of the seed (`until_noise`)."""
FORMAT = 2
"""The format of the journal that this version writes. 1, which no journal has, had neither `at` nor places."""


@dataclass(frozen=True, kw_only=True)
class _Event:
    time: float
    """The Unix time in seconds."""
    at: float | None = None
    """The seconds since the session began, by a monotonic clock; None in journals of versions before 0.2."""


@dataclass(frozen=True, kw_only=True)
class SessionBegan(_Event):
    """A command began to work on the sweep."""

    format: int = 1
    """The format of the events that follow; see `FORMAT`."""
    session: str = ""
    """A random name of the session."""
    version: str = ""
    """The version of fervit."""
    job: str = ""
    """The batch job that the command runs in, such as "slurm 1234, start 2"; "" for none."""


@dataclass(frozen=True, kw_only=True)
class TrialStarted(_Event):
    """A trial started for the first time."""

    name: str
    number: int
    seed: int
    purpose: Purpose = "search"
    params: Params
    warmup_epochs: float = 0.0
    fold: int = 0
    """The number of the fold that validates, from 1; 0 for a trial on the splits of the sweep."""
    folds: int = 0
    """The number of folds; 0 for a trial on the splits of the sweep."""


@dataclass(frozen=True, kw_only=True)
class EpochEnded(_Event):
    """A trial reported an epoch."""

    name: str
    row: EpochResult
    best_value: float
    """The best value of the metric that the trial has reached so far."""
    finished: bool = False
    """Whether the epoch was the last one of the trial."""
    saved: int = 0
    """The last saved epoch, from which the trial can continue."""
    started: float = 0.0
    """The Unix time at which the process began to work on the trial."""
    pid: int = 0
    cost: float | None = None
    node: str = ""
    stops: bool | None = None
    """Whether the stopping rule stops the trial after this epoch; None in journals of versions before 0.2."""


@dataclass(frozen=True, kw_only=True)
class TrialPlaced(_Event):
    """A process is up that works on a trial, which holds its CPUs and GPUs from now until it ends or is lost."""

    name: str
    gpus: float = 0.0
    """The GPUs that all its workers hold together."""


@dataclass(frozen=True, kw_only=True)
class TrialWentOn(_Event):
    """A trial continues after this saved epoch in a new process, which trains the later epochs again."""

    name: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ProcessLost(_Event):
    """The process of a trial died, and the trial waits for another process."""

    name: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class TrialPaused(_Event):
    """A trial pauses with its saved state, or has been drawn and waits to begin. Its place is free for another one."""

    name: str
    epoch: int = 0
    """The epoch after which it pauses; 0 if it has not begun."""
    why: str = ""
    """What the model of curves says of it, for the user."""


@dataclass(frozen=True, kw_only=True)
class TrialReturned(_Event):
    """A paused trial waits for a process in which it goes on, or begins."""

    name: str
    epoch: int = 0
    """The epoch after which it goes on; 0 if it begins."""
    why: str = ""
    """What the model of curves says of it, for the user."""


@dataclass(frozen=True, kw_only=True)
class TrialEnded(_Event):
    """A trial ended."""

    name: str
    state: TrialState
    failure: Failure | None = None
    """Why the trial failed, without the traceback; None if it did not fail."""
    cut: bool = False
    """Whether the search or its budget ended, and the trial with it, which could have gone on."""
    why: str = ""
    """Why the trial was stopped, for the user; "" for others, and for those of versions before 0.2."""


@dataclass(frozen=True, kw_only=True)
class TrialResumed(_Event):
    """A trial that a budget had cut waits for a process in which it goes on."""

    name: str


@dataclass(frozen=True, kw_only=True)
class TrialsExpected(_Event):
    """The search has ended, and the model of curves says what it expects of the configurations."""

    values: dict[str, float]
    """The name of each trial that has an epoch and did not fail -> the mean value of the metric over seeds that its
    configuration is expected to reach at the last epoch."""


@dataclass(frozen=True, kw_only=True)
class UserAsked(_Event):
    """The sweep has taken up what a user asked of it."""

    request: str
    """The name of the request, so that it is taken up once."""
    action: Action
    name: str = ""
    """The name of the trial to stop or to keep; "" for others."""
    params: Params = dataclasses.field(default_factory=dict)
    """The configuration to add; empty for others."""


@dataclass(frozen=True, kw_only=True)
class PartEnded(_Event):
    """The search or the confirmation ended before its last trial."""

    part: Part
    by: EndedBy
    why: str
    """The reason, for the user."""


@dataclass(frozen=True, kw_only=True)
class ModelChosen(_Event):
    """The sweep chose the run whose model is exported. A later choice replaces an earlier one."""

    number: int
    """The number of the configuration's trial."""
    seed: int
    epoch: int
    """The epoch of that run whose model is exported, from 1."""
    confirmed: tuple[int, ...] = ()
    """The numbers of the trials that were confirmed with fresh seeds, the best of the search first."""
    ties: tuple[int, ...] = ()
    """The numbers of the confirmed trials that are not significantly worse than the chosen one."""
    left_out: tuple[int, ...] = ()
    """The numbers of the trials that were to be confirmed, but of which no rerun with a fresh seed finished."""
    without_model: tuple[str, ...] = ()
    """The names of the better runs without a model that can be used, such as one that was cut before it wrote one."""


@dataclass(frozen=True, kw_only=True)
class SweepDone(_Event):
    """A session has completed all trials, the confirmation and the evaluation."""


def part_of(purpose: Purpose) -> Part:
    """Returns the part of the sweep that runs of a purpose belong to."""
    return "confirm" if purpose in ("confirm", "fold") else "search"


TrialEvent = (
    TrialStarted
    | TrialPlaced
    | EpochEnded
    | TrialWentOn
    | TrialPaused
    | TrialReturned
    | ProcessLost
    | TrialEnded
    | TrialResumed
)
Event = SessionBegan | TrialEvent | TrialsExpected | UserAsked | PartEnded | ModelChosen | SweepDone
KINDS: dict[str, type[Any]] = {
    "session": SessionBegan,
    "start": TrialStarted,
    "placed": TrialPlaced,
    "epoch": EpochEnded,
    "again": TrialWentOn,
    "lost": ProcessLost,
    "paused": TrialPaused,
    "returned": TrialReturned,
    "end": TrialEnded,
    "resumed": TrialResumed,
    "expected": TrialsExpected,
    "asked": UserAsked,
    "over": PartEnded,
    "chosen": ModelChosen,
    "done": SweepDone,
}
NAMES = {kind: name for name, kind in KINDS.items()}


_FIELDS = {kind: tuple(one.name for one in dataclasses.fields(kind)) for kind in KINDS.values()}
_values_of = {kind: attrgetter(*names) for kind, names in _FIELDS.items()}


def to_row(event: Event) -> Row:
    """Returns an event as the fields of a journal line."""
    kind = type(event)
    row: Row = {"event": NAMES[kind]}
    for name, value in zip(_FIELDS[kind], _values_of[kind](event), strict=True):
        if (name == "at" and value is None) or (name in ("fold", "folds", "without_model", "why") and not value):
            continue
        if name == "row":
            value = value.to_json()
        elif name == "failure":
            value = str(value) if value is not None else ""
        row[name] = list(value) if isinstance(value, tuple) else value
    return row


def from_row(row: Mapping[str, Any]) -> Event | None:
    """Reads an event that `to_row` of this or an earlier version wrote; None if its kind is unknown to this version.

    Raises:
        KeyError: a field is missing that has no default.
        TypeError: a field has the wrong type, or is missing.
    """
    kind = KINDS.get(row["event"])
    if kind is None:
        return None
    values = {name: row[name] for name in _FIELDS[kind] if name in row}
    if kind is EpochEnded:
        values["row"] = EpochResult.from_json(values["row"])
    elif kind is TrialEnded:
        values["failure"] = Failure.parse(values.get("failure") or "")
    elif kind is TrialsExpected:
        values["values"] = {str(name): float(value) for name, value in values["values"].items()}
    elif kind is ModelChosen:
        values |= {name: tuple(values.get(name, ())) for name in ("confirmed", "ties", "left_out", "without_model")}
    event: Event = kind(**values)
    return event
