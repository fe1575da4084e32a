"""What the processes of a run tell the command that started it: one line of JSON in the run's events file for each.

The command shows them. What the run gave is elsewhere: in its records, its state and its model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fervit.io.json_lines import JsonLines, Row, read_new_rows
from fervit.training.epoch import EpochResult


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A process began to work on the run."""

    time: float
    """The Unix time at which it began."""
    imported: float
    """The Unix time at which it had imported its modules."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run trains on."""

    workers: int
    hosts: tuple[str, ...]
    device: str
    """The name of the GPU, or the CPU with the threads of each worker."""
    precision: str
    """The type that the model computes in, such as float32."""
    parameters: int
    """The number of the model's weights."""

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict, for JSON."""
        return {**asdict(self), "hosts": list(self.hosts)}


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Data and model are there."""

    time: float
    epoch: int
    """The epoch after which the training goes on; 0 at the start."""
    hardware: Hardware


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """The first step was taken."""

    time: float


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch has ended."""

    result: EpochResult
    best: bool
    """Whether it is the best so far, whose model is kept."""
    saved: bool
    """Whether the training can go on after it."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A line for the user."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """The machine will be taken away. The run may continue on another one."""

    epoch: int
    """The last epoch that is saved."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The training has ended by its own code."""

    state: str
    """"finished" or "stopped"."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The training has failed."""

    kind: str
    """"diverged", "out of memory" or "failed"."""
    message: str
    details: str = ""
    """The traceback, if the reason does not say enough."""


Message = Entered | Ready | FirstStep | EpochDone | Remark | Leaving | Ended | Failed
_KINDS: dict[str, type[Any]] = {
    "entered": Entered,
    "ready": Ready,
    "first step": FirstStep,
    "epoch": EpochDone,
    "remark": Remark,
    "leaving": Leaving,
    "end": Ended,
    "failed": Failed,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class MessageWriter:
    """Appends messages to a file. Each is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)

    def __call__(self, message: Message) -> None:
        self._lines.append(to_row(message))


class MessageReader:
    """Reads the messages of a file from where it stopped reading."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> list[Message]:
        """Returns the messages that were added since the last call."""
        rows, self._read = read_new_rows(self._path, self._read)
        return [_from_row(row) for row in rows]

    @property
    def begun(self) -> bool:
        """Whether there was any message."""
        return self._read > 0


def to_row(message: Message) -> Row:
    """Returns a message as the fields of a line of JSON."""
    return {"event": _NAMES[type(message)], **asdict(message)}


def _from_row(row: Mapping[str, Any]) -> Message:
    values = {name: value for name, value in row.items() if name != "event"}
    if row["event"] == "epoch":
        values["result"] = EpochResult.from_json(values["result"])
    elif row["event"] == "ready":
        hardware = values["hardware"]
        values["hardware"] = Hardware(**{**hardware, "hosts": tuple(hardware["hosts"])})
    message: Message = _KINDS[row["event"]](**values)
    return message
