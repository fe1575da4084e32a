"""What happens in a sweep, as it happens: the records of its trials, what the sampler is told, what the user sees.

No Ray: `sweep.py` feeds it from Ray Tune's callbacks.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch.utils.tensorboard import SummaryWriter

from fervit.progress import clock
from fervit.search.sampler import Outcome
from fervit.search.selection import TrialRecord, ranked
from fervit.search.space import SearchSpace
from fervit.training.config import TrainConfig
from fervit.training.tensorboard import log_epoch
from fervit.training.trainer import EpochResult

Say = Callable[[str], None]
EPOCH_FIELDS = tuple(field.name for field in dataclasses.fields(EpochResult))


class Planned(NamedTuple):
    """A trial to start."""

    number: int
    name: str
    params: dict[str, Any]
    config: TrainConfig


class TrialSource(Protocol):
    """Where trials come from, and who hears what became of them."""

    @property
    def total(self) -> int: ...
    def ask(self) -> Planned: ...
    def report(self, number: int, epoch: int, value: float) -> None: ...
    def tell(self, number: int, outcome: Outcome, value: float | None) -> None: ...


class Ledger:
    """The records of the trials of one Ray Tune run.

    Args:
        space: what is searched.
        source: gives the trials.
        folder: of the sweep; checkpoints are in its `checkpoints/<trial>/`.
        keep: this many checkpoints of ended trials stay on disk, the best; 0 keeps none.
        say: prints a line for the user.
    """

    def __init__(self, space: SearchSpace, source: TrialSource, folder: Path, keep: int, say: Say) -> None:
        self.space, self.source, self.folder = space, source, folder
        self._keep, self._say = keep, say
        self._records: dict[str, TrialRecord] = {}
        self._kept: list[TrialRecord] = []
        self._writers: dict[str, SummaryWriter] = {}
        self._started = time.monotonic()

    @property
    def records(self) -> list[TrialRecord]:
        """In the order of their numbers, then seeds."""
        return sorted(self._records.values(), key=lambda record: (record.number, record.seed))

    @property
    def complete(self) -> bool:
        """All trials were given out and have ended."""
        return self.ended == self.source.total

    @property
    def ended(self) -> int:
        """How many trials have ended, whichever way."""
        return sum(record.state != "running" for record in self._records.values())

    def begin(self, trial_id: str) -> Planned:
        planned = self.source.ask()
        self._records[trial_id] = TrialRecord(
            number=planned.number, name=planned.name, seed=planned.config.seed, params=planned.params
        )
        return planned

    def epoch(self, trial_id: str, result: dict[str, Any]) -> None:
        """One report of a trial: an epoch's result, or its failure."""
        record = self._records[trial_id]
        record.failure = result["failure"]
        record.finished = result["finished"]
        if record.failure:
            return
        # A trial that goes on after its process died repeats the epochs since its last save.
        repeated = any(row["epoch"] >= result["epoch"] for row in record.epochs)
        record.epochs = [row for row in record.epochs if row["epoch"] < result["epoch"]]
        record.epochs.append({name: result[name] for name in EPOCH_FIELDS})
        record.seconds = sum(row["seconds"] for row in record.epochs)
        record.started, record.ended, record.pid = result["started"], result["reported"], result["pid"]
        if not repeated:
            self.source.report(record.number, result["epoch"], result["best_value"])
            self._log(record)

    def end(self, trial_id: str, error: str = "") -> None:
        """A trial has ended, by itself, stopped by the scheduler or the budget, or with an error of its process."""
        record = self._records[trial_id]
        if record.state != "running":
            return
        record.failure = error or record.failure
        best = record.best(self.space.metric)
        if record.failure or best is None:
            record.state = "failed" if record.failure else "stopped"
        else:
            record.state = "finished" if record.finished else "stopped"
        outcome = {"finished": Outcome.FINISHED, "stopped": Outcome.STOPPED}.get(record.state, Outcome.FAILED)
        self.source.tell(record.number, outcome, best[self.space.metric.name] if best is not None else None)
        if record.name in self._writers:
            self._writers.pop(record.name).close()
        self._prune(record)
        self._say(self._line(record))

    def end_all(self) -> None:
        """The run is over, and with it every trial that has not ended."""
        for trial_id in self._records:
            self.end(trial_id)

    def spent_seconds(self) -> float:
        """Training seconds of all trials so far."""
        return math.fsum(record.seconds for record in self._records.values())

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started

    def checkpoint_folder(self, name: str) -> Path:
        return self.folder / "checkpoints" / name

    def _log(self, record: TrialRecord) -> None:
        if record.name not in self._writers:
            self._writers[record.name] = SummaryWriter(str(self.folder / "logs" / record.name))
        log_epoch(self._writers[record.name], record.epochs[-1])

    def _prune(self, ended: TrialRecord) -> None:
        """Removes the checkpoint that a trial which has just ended pushes out of the best, or its own."""
        candidates = [*self._kept, ended]
        self._kept = ranked(candidates, self.space.metric)[: self._keep]
        for record in candidates:
            if not any(record is kept for kept in self._kept):
                shutil.rmtree(self.checkpoint_folder(record.name), ignore_errors=True)

    def _line(self, record: TrialRecord) -> str:
        metric = self.space.metric
        done, elapsed = self.ended, self.elapsed_seconds()
        left = elapsed / done * (self.source.total - done)
        line = f"{done:>4}/{self.source.total}  {record.name:<16} {record.state:<8} "
        best = record.best(metric)
        if best is not None:
            line += f"{len(record.epochs):>3} epochs  {metric.name} {best[metric.name]:.3f} (epoch {best['epoch']})"
        if record.failure:
            line += f"  {record.failure[:80]}"
        leading = ranked(self._records.values(), metric)
        if leading:
            value = leading[0].best(metric)
            assert value is not None
            line += f"  best {value[metric.name]:.3f} ({leading[0].name})"
        return f"{line}  {clock(elapsed)} gone, {clock(left)} left"
