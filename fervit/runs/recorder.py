"""Records the epochs of a run in its folder: history, TensorBoard and summary. Only the first process does this."""

from __future__ import annotations

import math
from collections.abc import Callable

from fervit.io.files import write_json, write_text
from fervit.io.json_lines import JsonLines, read_rows, text_of
from fervit.progress import silent
from fervit.runs.folder import RunFolder
from fervit.runs.tensorboard import log_best, log_classes, log_epoch, open_writer
from fervit.system.side_channels import SideChannel
from fervit.training.epoch import EpochResult
from fervit.training.trainer import Trainer

FINAL_METRICS = ("accuracy", "f1_macro", "f1_weighted")
CLASSES_EVERY = 10
"""The number of epochs between two confusion matrices in TensorBoard."""


class Recorder:
    """Records the epochs of a run. It continues after the epoch to which the trainer has been restored.

    Args:
        folder: the folder of the run.
        trainer: the trainer, new or restored.
        tell: gets a remark if TensorBoard's logs cannot be written.
    """

    def __init__(self, folder: RunFolder, trainer: Trainer, tell: Callable[[str], object] = silent) -> None:
        self._folder, self._trainer = folder, trainer
        known = [row for row in read_history(folder) if row.epoch <= trainer.epoch]
        write_text(folder.history, text_of(row.to_json() for row in known))
        self._lines = JsonLines(folder.history)
        self._logs = SideChannel("TensorBoard", tell)
        self._writer = self._logs(open_writer, folder.logs, trainer.config, trainer.epoch)
        self._summarise("running")

    def epoch(self, result: EpochResult) -> None:
        """Records an epoch."""
        trainer = self._trainer
        self._lines.append(result.to_json())
        if self._writer is None:
            return
        self._logs(log_epoch, self._writer, result.to_json())
        if trainer.finished or result.epoch % CLASSES_EVERY == 0 or result.epoch == 1:
            self._logs(log_classes, self._writer, trainer.confusion, trainer.label_set.classes, result.epoch)

    def sync(self) -> None:
        """Makes the history outlive a power cut. A saved state tells only of its own epoch, not of those before."""
        self._lines.sync()

    def close(self, state: str) -> None:
        """Closes the files and writes the summary.

        Args:
            state: how the run ended: finished, stopped, diverged, out of memory or failed.
        """
        best = self._trainer.best
        self._lines.sync()
        self._lines.close()
        self._summarise(state)
        if self._writer is None:
            return
        if best is not None:
            self._logs(log_best, self._writer, self._trainer.config, best.f1_macro, best.epoch)
        self._logs(self._writer.close)

    def _summarise(self, state: str) -> None:
        trainer, rows = self._trainer, read_history(self._folder)
        summary = {
            "experiment_name": self._folder.path.name,
            "state": state,
            "epochs": len(rows),
            "best": trainer.best.to_json() if trainer.best else None,
            # The guide's snippets read these names: the metrics, on validation, of the model that is kept.
            "final_metrics": {name: getattr(trainer.best, name) for name in FINAL_METRICS} if trainer.best else {},
            "rule": f"the highest {trainer.metric.name} on validation, the earliest epoch of equal ones",
            "seconds": math.fsum(row.seconds for row in rows),
        }
        write_json(self._folder.summary, summary)


def read_history(folder: RunFolder) -> list[EpochResult]:
    """Reads the epochs of a run, up to a line that is damaged or cut off."""
    return [EpochResult.from_json(row) for row in read_rows(folder.history, damaged="stop")]
