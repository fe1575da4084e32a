"""A sweep in this process: its own ledger, sampler, choice, export and seal, on trials that follow made-up curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fervit.io.disk import make_folder, remove
from fervit.io.files import write_text
from fervit.model import LatentViT
from fervit.search.console.failure_log import FailureLog
from fervit.search.ledger import Ledger, Observer
from fervit.search.opening import open_search
from fervit.search.outcome.leaderboard import write_leaderboard
from fervit.search.policy.interfaces import Planned
from fervit.search.policy.stopping import stopping_rule
from fervit.search.records import journal
from fervit.search.records.history import History
from fervit.search.records.models_kept import ModelsKept
from fervit.search.records.record import TrialRecord
from fervit.search.records.report import TrialReport
from fervit.search.records.sweep_folder import SweepFolder, TrialFolder
from fervit.search.space.search_space import SearchSpace
from fervit.search.space.space_file import parse_space
from fervit.search.steps import Sweep
from fervit.training.config import TrainConfig
from fervit.training.epoch import EpochResult
from fervit.training.failure import Failure
from tests.conftest import ENCODER
from tests.helpers.epochs import epoch_result

EPOCHS = 3
FAILS = 2
"""The number of the trial that fails in its second epoch."""
Promise = Callable[[Any], None]


def space(sampler: str = "random", scheduler: str = "none", trials: int = 4, confirm: int = 0) -> SearchSpace:
    return parse_space(
        {
            "name": "s",
            "search": {"sampler": sampler, "trials": trials, "seed": 3},
            "early_stopping": {
                "scheduler": scheduler,
                "max_epochs": EPOCHS,
                **({} if scheduler == "none" else {"grace_epochs": 1, "reduction_factor": 2}),
            },
            "parameters": {
                "lr": {"distribution": "log_uniform", "min": 1e-4, "max": 1e-2},
                "heads": {"values": [1, 2]},
            },
            "fixed": {"seq_len": 4, "latent_dim": 16, "embed_dim": 4, "depth": 1, "mlp_dim": 4},
            "confirm": {"top": confirm, "seeds": 2},
        },
        "s.yaml",
    )


class _Promises(Observer):
    """Promises what the user reads of a trial: each epoch, and its end."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        self._promise(("epoch", record.name, record.epochs[-1].epoch))

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        self._promise(("ended", record.name, record.state))


class _Remarks(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def remark(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Outcome:
    """What is left of a sweep when it has ended."""

    rows: list[dict[str, str]]
    """The leaderboard."""
    remarks: list[str]
    chosen: str = ""
    """The fingerprint and the epoch of the exported model."""


def command(
    root: Path,
    of: SearchSpace,
    promise: Promise = lambda what: None,
    *,
    slots: int = 1,
    whole: bool = False,
) -> Outcome:
    """Begins a sweep below a folder, or goes on with the one that is there, as `tune.py --resume` does.

    Args:
        root: the folder of all sweeps.
        of: the space.
        promise: gets what the user is told.
        slots: the number of trials at once.
        whole: whether to choose, export and seal a model at the end; else models are small stand-ins.
    """
    found = [SweepFolder(path) for path in sorted(root.glob("s_*"))]
    files = next((one for one in found if one.is_sweep()), SweepFolder(root / f"s_{len(found)}"))
    make_folder(files.path)
    files.write_environment({"of": "a test"})
    files.write_space(of)
    files.read_space()
    remarks = _Remarks()
    ledger = Ledger(
        of,
        journal.JournalFile(files.journal),
        stopping_rule(of.early_stopping, of.metric),
        [_Promises(promise), remarks, FailureLog(files.failures)],
        models=ModelsKept(files, of.metric, 2),
        clock=lambda: 0.0,
    )
    try:
        if whole:
            return _to_the_end(ledger, files, slots, promise, remarks.lines)
        open_search(of, files, ledger)
        run_trials(ledger, files, slots, whole=False)
        write_leaderboard(ledger.records, of, files.leaderboard)
        promise(("leaderboard", ""))
        ledger.done()
        return Outcome(_rows(files), remarks.lines)
    finally:
        ledger.close()


def _rows(files: SweepFolder) -> list[dict[str, str]]:
    with files.leaderboard.open(newline="") as file:
        return list(csv.DictReader(file))


def run_trials(ledger: Ledger, files: SweepFolder, slots: int, *, whole: bool) -> None:
    """Runs the trials of the ledger's source, a step of each in turn."""
    remove(files.stop)
    running: list[_Trial] = []
    while True:
        while len(running) < slots and (planned := ledger.begin()) is not None:
            running.append(_Trial(planned, files.trial(planned.name), whole=whole))
            ledger.placed(planned.name)
        if not running:
            return
        for trial in list(running):
            if ledger.report(trial.name, report := trial.step()) or report.finished:
                ledger.end(trial.name)
                running.remove(trial)


class _Trial:
    """A trial that saves and reports as `LatentTrial` does: its best model and, now and then, its state come first."""

    def __init__(self, planned: Planned, folder: TrialFolder, *, whole: bool) -> None:
        self.name, self._planned, self._folder, self._whole = planned.name, planned, folder, whole
        self.rows: list[EpochResult] = []
        self.saved, self._again = 0, False
        for aside in folder.path.glob(".*"):
            remove(aside)
        if folder.last.is_file():
            self.rows = [EpochResult.from_json(row) for row in json.loads(folder.last.read_text())]
            self.saved, self._again = len(self.rows), True
            self._save_best()

    def step(self) -> TrialReport:
        if self._again:
            self._again = False
        else:
            epoch = len(self.rows) + 1
            if self._planned.number == FAILS and epoch == 2:
                return TrialReport(failure=Failure("diverged", "the loss became nan", "a traceback\n" * 3))
            self.rows.append(row_of(self._planned, epoch))
            if self._best() is self.rows[-1]:
                self._save_best()
            if epoch % 2 == 0:
                write_text(self._folder.last, json.dumps([row.to_json() for row in self.rows]))
                self.saved = epoch
            return self._report()
        return self._report(again=True)

    def _report(self, *, again: bool = False) -> TrialReport:
        best, last = self._best().f1_macro, self.rows[-1]
        done = last.epoch == EPOCHS
        return TrialReport(epoch=last, best_value=best, finished=done, saved=self.saved, again=again)

    def _best(self) -> EpochResult:
        return max(self.rows, key=lambda row: (row.f1_macro, -row.epoch))

    def _save_best(self) -> None:
        if self._whole:
            save_checkpoint(checkpoint_of(self._planned.config, self._best()), self._folder.best_model)
        else:
            write_text(self._folder.best_model, f"{self.name} {self._best().epoch}")


def row_of(planned: Planned, epoch: int) -> EpochResult:
    """Returns an epoch of a trial, which depends on its number and seed alone."""
    value = (37 * planned.number + 11 * planned.config.seed + 5 * epoch * (1 - (planned.number % 3 == 1) * 2)) % 97 / 97
    return epoch_result(epoch, f1_macro=value, val_loss=1 - value, accuracy=value, seconds=1.0)


def checkpoint_of(config: TrainConfig, row: EpochResult) -> Checkpoint:
    torch.manual_seed(row.epoch)
    metrics = row.to_json()
    epoch = metrics.pop("epoch")
    weights = LatentViT(**config.model()).state_dict()
    return Checkpoint(model_state_dict=weights, config=config, epoch=epoch, metrics=metrics, encoder=ENCODER, data={})


def _to_the_end(ledger: Ledger, files: SweepFolder, slots: int, promise: Promise, remarks: list[str]) -> Outcome:
    # The trials are made up; all else is the sweep's own.
    trials = partial(run_trials, ledger, files, slots, whole=True)
    splits = SimpleNamespace(val=SimpleNamespace(codes=[]))
    sweep = Sweep(ledger, files, splits, trials, remarks.append)  # type: ignore[arg-type]
    choice = sweep.search_and_choose()
    promise(("chosen", choice.chosen.name))
    checkpoint = sweep.export(choice)
    promise(("exported", checkpoint.fingerprint))
    ledger.done()
    exported = load_checkpoint(files.best)
    weights = load_checkpoint(files.best / "model.safetensors")
    assert exported.fingerprint == weights.fingerprint
    return Outcome(_rows(files), remarks, f"{exported.fingerprint} {exported.epoch}")


def broken_promises(root: Path, promised: Sequence[Any]) -> str:
    """Returns which of the promises about trials the journal on disk no longer keeps; "" if it keeps all."""
    records: dict[str, TrialRecord] = {}
    for path in root.glob("s_*"):
        records |= History(journal.JournalReader(SweepFolder(path).journal)).records
    for what in promised:
        if what[0] == "ended" and (what[1] not in records or records[what[1]].state != what[2]):
            return f"promised {what}, and the journal knows nothing of it"
        if what[0] == "epoch":
            record = records.get(what[1])
            if record is None or (record.state == "running" and what[2] not in [row.epoch for row in record.epochs]):
                return f"promised {what}, and the journal knows nothing of it"
    return ""
