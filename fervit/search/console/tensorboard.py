"""Logs the trials of a sweep to TensorBoard, each as a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fervit.runs.tensorboard import log_best, log_epoch, open_writer
from fervit.search.ledger import Ledger, Observer
from fervit.search.records.record import TrialRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Observer):
    """Writes the scalars of each epoch, and the hyperparameters and the best value of each trial that ends.

    Args:
        logs: the folder of TensorBoard's logs.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._writers: dict[str, SummaryWriter] = {}

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        """Writes the scalars of the epoch that the trial has just reported."""
        last = record.epochs[-1]
        if record.name not in self._writers:
            config = ledger.space.config(record.params, record.seed)
            self._writers[record.name] = open_writer(
                self._logs / record.name, config, last.epoch - 1, ledger.space.metric.name
            )
        log_epoch(self._writers[record.name], last.to_json())

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Writes the hyperparameters and the best value of the trial, and closes its file."""
        writer = self._writers.pop(record.name, None)
        if writer is None:
            return
        metric = ledger.space.metric
        best = record.best(metric)
        if best is not None:
            config = ledger.space.config(record.params, record.seed)
            log_best(writer, config, metric.value(best), best.epoch, metric.name)
        writer.close()

    def close(self) -> None:
        """Closes the files of the trials that are still running."""
        for writer in self._writers.values():
            writer.close()
