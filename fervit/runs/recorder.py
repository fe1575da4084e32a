"""What a run records of its epochs in its folder: history, TensorBoard and summary. The first process alone does."""

from __future__ import annotations

import math

from fervit.files import write_json, write_text
from fervit.json_lines import JsonLines, read_rows, text_of
from fervit.runs.folder import RunFolder
from fervit.runs.tensorboard import log_best, log_classes, log_epoch, open_writer
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

CLASSES_EVERY = 10
"""Epochs between two confusion matrices in TensorBoard."""


class Recorder:
    """Records the epochs of one run, from that on where its trainer has been restored; closed at the end."""

    def __init__(self, folder: RunFolder, trainer: Trainer) -> None:
        self._folder, self._trainer = folder, trainer
        known = [row for row in read_history(folder) if row.epoch <= trainer.epoch]
        write_text(folder.history, text_of(row.to_json() for row in known))
        self._lines = JsonLines(folder.history)
        self._writer = open_writer(folder.logs, trainer.config, trainer.epoch)
        self._summarise("running")

    def epoch(self, result: EpochResult) -> None:
        """Records an epoch."""
        trainer = self._trainer
        log_epoch(self._writer, result.to_json())
        if trainer.finished or result.epoch % CLASSES_EVERY == 0 or result.epoch == 1:
            log_classes(self._writer, trainer.confusion, result.epoch)
        self._lines.append(result.to_json())

    def close(self, state: str) -> None:
        """Ends the record: `state` is finished, stopped, leaving, diverged, out of memory or failed."""
        best = self._trainer.best
        if best is not None:
            log_best(self._writer, self._trainer.config, best.f1_macro, best.epoch)
        self._writer.close()
        self._lines.close()
        self._summarise(state)

    def _summarise(self, state: str) -> None:
        trainer, rows = self._trainer, read_history(self._folder)
        summary = {
            "state": state,
            "epochs": len(rows),
            "best": trainer.best.to_json() if trainer.best else None,
            "rule": f"the highest {trainer.metric.name} on validation, the earliest epoch of equal ones",
            "seconds": math.fsum(row.seconds for row in rows),
        }
        write_json(self._folder.summary, summary)


def read_history(folder: RunFolder) -> list[EpochResult]:
    """Reads the epochs of a run, up to a line that is damaged or was cut off."""
    return [EpochResult.from_json(row) for row in read_rows(folder.history, damaged="stop")]
