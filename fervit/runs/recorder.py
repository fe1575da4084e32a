"""What a training leaves in its run folder, epoch by epoch: history, TensorBoard, checkpoints. Rank 0 alone has one."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from fervit.checkpoints.checkpoint import save_checkpoint
from fervit.errors import UserError
from fervit.files import write_json, write_text
from fervit.runs.folder import RunFolder
from fervit.runs.state import Weights, checkpoint_of, copy_weights, load_state, save_state
from fervit.runs.tensorboard import log_best, log_classes, log_epoch, open_writer
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

SHARE_FOR_SAVING = 0.1
"""Of the time: the state is saved after every epoch that lasts ten times as long as saving it, else less often."""
CLASSES_EVERY = 10
"""Epochs between two confusion matrices in TensorBoard."""


class Recorder:
    """Writes the files of one run; made after `resume`, closed at the end."""

    def __init__(self, folder: RunFolder, trainer: Trainer, best_weights: Weights | None) -> None:
        self._folder, self._trainer, self._best_weights = folder, trainer, best_weights
        self._writer = open_writer(folder.logs, trainer.config, trainer.epoch)
        self._saved_epoch, self._saved, self._saving = trainer.epoch, time.monotonic(), 0.0
        self._summarise("running")

    def epoch(self, result: EpochResult) -> bool:
        """Records an epoch; returns whether its state was saved."""
        trainer = self._trainer
        last = trainer.finished
        log_epoch(self._writer, result.to_json())
        if last or result.epoch % CLASSES_EVERY == 0 or result.epoch == 1:
            log_classes(self._writer, trainer.confusion, result.epoch)
        with self._folder.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result.to_json()) + "\n")
        if trainer.improved:
            self._best_weights = copy_weights(trainer)
        if last or time.monotonic() - self._saved > self._saving / SHARE_FOR_SAVING:
            self.save()
        return self._saved_epoch == result.epoch

    def save(self) -> None:
        """Writes the best model and what is needed to go on from here."""
        trainer = self._trainer
        if self._saved_epoch == trainer.epoch or self._best_weights is None:
            return
        started = time.monotonic()
        if trainer.best is not None and trainer.best.epoch > self._saved_epoch:
            save_checkpoint(checkpoint_of(trainer, self._best_weights), self._folder.best)
        save_state(self._folder.last, trainer, self._best_weights)
        self._saved_epoch, self._saved = trainer.epoch, time.monotonic()
        self._saving = self._saved - started

    def close(self, state: str) -> None:
        """Ends the run's record: `state` is finished, stopped, diverged, out of memory or failed."""
        best = self._trainer.best
        if best is not None:
            log_best(self._writer, self._trainer.config, best.f1_macro, best.epoch)
        self._writer.close()
        self._summarise(state)

    def _summarise(self, state: str) -> None:
        trainer, rows = self._trainer, read_history(self._folder)
        summary = {
            "state": state,
            "epochs": len(rows),
            "best": trainer.best.to_json() if trainer.best else None,
            "rule": f"the highest {trainer.metric.name} on validation, the earliest epoch of equal ones",
            "seconds": math.fsum(row["seconds"] for row in rows),
        }
        write_json(self._folder.summary, summary)


def read_state(folder: RunFolder) -> dict[str, Any] | None:
    """What `Recorder.save` wrote last; None for a run that was killed before.

    Raises:
        UserError: the file is damaged.
    """
    if not folder.last.is_file():
        return None
    try:
        return load_state(folder.last)
    except (UserError, KeyError, TypeError):
        raise UserError(
            f"{folder.last}: is damaged, so the run cannot go on from its last epoch; remove the file to begin the run "
            "again, or start a new one"
        ) from None


def resume(folder: RunFolder, trainer: Trainer, *, first_rank: bool) -> Weights | None:
    """Brings a new trainer to where the run was last saved, and returns the best weights so far."""
    state = read_state(folder)
    if state is None:
        if first_rank:
            folder.history.unlink(missing_ok=True)
        return None
    trainer.load_state_dict(state["trainer"])
    weights: Weights = state["best_weights"]
    if first_rank:
        for aside in folder.last.parent.glob(".*"):  # what a killed process was writing
            aside.unlink(missing_ok=True)
        save_checkpoint(checkpoint_of(trainer, weights), folder.best)  # the one there may be of a later epoch
        lines = [line for line in read_history(folder) if line["epoch"] <= trainer.epoch]
        write_text(folder.history, "".join(json.dumps(line) + "\n" for line in lines))
    return weights


def read_history(folder: RunFolder) -> list[dict[str, Any]]:
    """The epochs of a run, without a line that was cut off."""
    rows = []
    if folder.history.is_file():
        for line in folder.history.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows
