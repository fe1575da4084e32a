"""What happens in a sweep, as it happens: the records of its trials, what the sampler is told, what stays on disk.

No Ray: `sweep.py` feeds it from Ray Tune. Everything stands in the journal before anyone else hears of it, so that a
new ledger over the same folder knows what this one knew, whatever killed it.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from torch.utils.tensorboard import SummaryWriter

from fervit.runs.tensorboard import log_best, log_epoch, open_writer
from fervit.search.policy.interfaces import Planned, StoppingRule, TrialSource
from fervit.search.records.history import History
from fervit.search.records.journal import FILE, Journal, elapsed_seconds, read_journal
from fervit.search.records.ranking import ranked
from fervit.search.records.record import Purpose, TrialRecord
from fervit.search.space.search_space import SearchSpace
from fervit.training.epoch import EpochResult

EPOCH_FIELDS = tuple(field.name for field in dataclasses.fields(EpochResult))
FAILURES = "failures.log"
"""Tracebacks of trials that ended with an exception."""
LAST = "last.pt"
"""What a trial goes on from."""


class Screen(Protocol):
    """What the user sees of the trials."""

    def changed(self, ledger: Ledger) -> None:
        """Something has happened."""
        ...

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """A trial has ended."""
        ...

    def lost(self, record: TrialRecord, why: str) -> None:
        """A trial has lost its process, and will go on in another."""
        ...


class Ledger:
    """The records of a sweep's trials.

    Args:
        space: what is searched.
        folder: of the sweep; checkpoints are in its `checkpoints/<trial>/`. What it holds of an earlier session is
            taken up again.
        rule: which trials are stopped; a new one, as it is fed from the journal.
        screen: shows what happens.
    """

    def __init__(self, space: SearchSpace, folder: Path, rule: StoppingRule, screen: Screen) -> None:
        self.space, self.folder = space, folder
        self.source: TrialSource = _NoSource()
        self._rule, self._screen = rule, screen
        self._keep = max(1, space.confirm.top)
        self._running: dict[str, TrialRecord] = {}
        self._ended: Counter[Purpose] = Counter()
        self._waiting: list[TrialRecord] = []
        self._kept: list[TrialRecord] = []
        self._judged: dict[str, int] = {}
        """Trial -> the last epoch that the rule has seen."""
        self._decided: set[str] = set()
        """Trials that the rule has stopped."""
        self._writers: dict[str, SummaryWriter] = {}
        self._spent, self._since, self._ended_before = 0.0, time.monotonic(), 0
        path = folder / FILE
        events = read_journal(path) if path.is_file() else []
        self._before, self._started = elapsed_seconds(events), time.monotonic()
        self._history = History()
        for event in events:
            self._apply(event)
        self._journal = Journal(path)
        self._record("session")
        self._take_up()

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles whatever it is given, once, and nothing is ever made of that."""
        return {}

    @property
    def records(self) -> list[TrialRecord]:
        """In the order of their numbers, then seeds."""
        return sorted(self._history.records.values(), key=lambda record: (record.number, record.seed))

    @property
    def running(self) -> list[TrialRecord]:
        """The trials of the source that have not ended, in the order in which they started."""
        return [record for record in list(self._running.values()) if record.purpose in self.source.purposes]

    @property
    def n_begun(self) -> int:
        """How many of those have been given to Ray Tune."""
        return len(self.running) - len(self._waiting)

    @property
    def n_ended(self) -> int:
        """How many trials of the source have ended, whichever way."""
        return sum(self._ended[purpose] for purpose in self.source.purposes)

    @property
    def n_ended_here(self) -> int:
        """Those that have ended since this source came into use."""
        return self.n_ended - self._ended_before

    @property
    def complete(self) -> bool:
        """All trials of the source have ended."""
        return self.n_ended >= self.source.total

    @property
    def best(self) -> TrialRecord | None:
        """The best of the search so far, of those that have ended and those that run."""
        running = [record for record in list(self._running.values()) if record.purpose == "search"]
        return next(iter(ranked([*self._kept, *running], self.space.metric)), None)

    def use(self, source: TrialSource) -> None:
        """Takes trials from `source` from now on, first those that an earlier session began.

        The source is told what that session may not have told it any more.
        """
        self.source, self._since = source, time.monotonic()
        self._waiting, self._ended_before = self.running, self.n_ended
        for record in self._history.records.values():
            if record.purpose == "search":
                for epoch, value in self._best_values(record):
                    source.report(record.number, epoch, value)
            if record.state != "running":
                source.tell(record)

    def begin(self) -> Planned | None:
        """The next trial to start, or to go on with; None where there is none now."""
        if self._waiting:
            record = self._waiting.pop(0)
            config = self.space.config(record.params, record.seed)
            return Planned(record.number, record.name, record.params, config, record.purpose)
        planned = self.source.ask()
        if planned is not None:
            self._record(
                "start",
                name=planned.name,
                number=planned.number,
                seed=planned.config.seed,
                purpose=planned.purpose,
                params=planned.params,
                warmup_epochs=planned.config.warmup_epochs,
            )
            self._screen.changed(self)
        return planned

    def begin_again(self, name: str, why: str) -> None:
        """A trial has lost its process: it goes on with the next one that is free."""
        record = self._history.records[name]
        self._record("lost", name=name, why=why)
        self._waiting.append(record)
        self._screen.lost(record, why)

    def epoch(self, name: str, result: dict[str, Any]) -> bool:
        """One report of a trial: an epoch's result, or its failure. Returns whether the trial is to be stopped."""
        record = self._history.records[name]
        if record.state != "running":
            return True
        missing = [key for key in ("best_value", *EPOCH_FIELDS) if key not in result]
        if result.get("failure") or missing:
            record.failure = result.get("failure") or f"metric missing: a report without {', '.join(missing[:3])}"
            if result.get("details"):
                with (self.folder / FAILURES).open("a", encoding="utf-8") as file:
                    file.write(f"{name}\n{result['details']}\n")
            return True
        if result.get("again") and any(row["epoch"] == result["epoch"] for row in record.epochs):
            self._record("again", name=name, epoch=result["epoch"])
            return False
        self._record(
            "epoch",
            name=name,
            row={key: result[key] for key in EPOCH_FIELDS},
            **{key: result[key] for key in ("best_value", "finished", "saved", "started", "pid", "cost")},
            node=result.get("node_ip", ""),
        )
        if record.purpose == "search":
            self.source.report(record.number, result["epoch"], result["best_value"])
        self._log(record)
        if name in self._decided and not record.finished:
            self.end(name)
            return True
        self._screen.changed(self)
        return False

    def end(self, name: str, error: str = "") -> None:
        """A trial has ended, by itself, stopped by the rule or the budget, or with an error of its process."""
        record = self._history.records[name]
        if record.state != "running":
            return
        failure = error or record.failure
        state = "failed" if failure else "finished" if record.finished else "stopped"
        self._record("end", name=name, state=state, failure=failure)
        self.source.tell(record)
        if name in self._writers:
            best = record.best(self.space.metric)
            if best is not None:
                config = self.space.config(record.params, record.seed)
                log_best(self._writers[name], config, best["f1_macro"], best["epoch"])
            self._writers.pop(name).close()
        self._prune(record)
        self._screen.ended(self, record)

    def is_over(self, name: str) -> bool:
        """Whether a trial has come to its own end, whatever else ends."""
        record = self._history.records[name]
        return record.finished or bool(record.failure)

    def end_all(self) -> None:
        """No trial of the source goes on."""
        for record in self.running:
            self.end(record.name)

    def spent_seconds(self) -> float:
        """Training seconds of all trials so far."""
        return self._spent

    def elapsed_seconds(self) -> float:
        """Of this session and those before it."""
        return self._before + time.monotonic() - self._started

    def session_seconds(self) -> float:
        """Since this source came into use."""
        return time.monotonic() - self._since

    def checkpoint_folder(self, name: str) -> Path:
        return self.folder / "checkpoints" / name

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._journal.close()

    def _record(self, event: str, **values: Any) -> None:
        self._apply(self._journal.append(event, **values))

    def _apply(self, event: dict[str, Any]) -> None:
        """Takes an event of the journal in, of this session or an earlier one."""
        record = self._history.apply(event)
        if record is None:
            return
        match event["event"]:
            case "start":
                self._running[record.name] = record
            case "epoch":
                row, best_value = event["row"], event["best_value"]
                self._spent += row["seconds"]
                if row["epoch"] > self._judged.get(record.name, 0) and record.purpose == "search":
                    self._judged[record.name] = row["epoch"]
                    if self._rule.stops(record, best_value, row[self.space.metric.name]):
                        self._decided.add(record.name)
            case "end":
                del self._running[record.name]
                self._ended[record.purpose] += 1

    def _take_up(self) -> None:
        """Ends what an earlier session had decided to end, and removes what it left on disk for nobody."""
        for record in list(self._running.values()):
            if record.finished or record.name in self._decided:
                self._record("end", name=record.name, state="finished" if record.finished else "stopped", failure="")
        ended = [r for r in self._history.records.values() if r.state != "running" and r.purpose == "search"]
        self._kept = ranked(ended, self.space.metric)[: self._keep]
        wanted = {r.name for r in (*self._kept, *self._running.values())}
        wanted |= {r.name for r in self._history.records.values() if r.purpose != "search"}
        for folder in (self.folder / "checkpoints").glob("*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.name not in self._running:
                (folder / LAST).unlink(missing_ok=True)

    def _best_values(self, record: TrialRecord) -> Iterator[tuple[int, float]]:
        """(epoch, best value of the metric so far) of each epoch."""
        best: float | None = None
        for row in record.epochs:
            value = row[self.space.metric.name]
            best = value if best is None or self.space.metric.better(value, best) else best
            yield row["epoch"], best

    def _log(self, record: TrialRecord) -> None:
        row = record.epochs[-1]
        if record.name not in self._writers:
            config = self.space.config(record.params, record.seed)
            self._writers[record.name] = open_writer(self.folder / "logs" / record.name, config, row["epoch"] - 1)
        log_epoch(self._writers[record.name], row)

    def _prune(self, ended: TrialRecord) -> None:
        """Of an ended trial nothing stays to go on from; of the search's trials only the best keep their models."""
        (self.checkpoint_folder(ended.name) / LAST).unlink(missing_ok=True)
        if ended.purpose != "search":
            return
        candidates = [*self._kept, ended]
        self._kept = ranked(candidates, self.space.metric)[: self._keep]
        for record in candidates:
            if not any(record is kept for kept in self._kept):
                shutil.rmtree(self.checkpoint_folder(record.name), ignore_errors=True)


class _NoSource:
    """Before the first source is used."""

    purposes: tuple[Purpose, ...] = ()
    total = 0
    enough = ""

    def ask(self) -> Planned | None:
        return None

    def report(self, number: int, epoch: int, value: float) -> None: ...

    def tell(self, record: TrialRecord) -> None: ...
