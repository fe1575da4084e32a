"""A sweep's trials in TensorBoard, each as a run of its own."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fervit.runs.tensorboard import log_best, log_epoch, open_writer
from fervit.search.ledger import Ledger, Observer
from fervit.search.records.record import TrialRecord


class TensorBoard(Observer):
    """Writes the scalars of each epoch, and of each trial that has ended the hyperparameters with its best value.

    Args:
        logs: the folder that TensorBoard is given.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._writers: dict[str, SummaryWriter] = {}

    def epoch(self, ledger: Ledger, record: TrialRecord) -> None:
        """Writes the scalars of the trial's last epoch."""
        last = record.epochs[-1]
        if record.name not in self._writers:
            config = ledger.space.config(record.params, record.seed)
            self._writers[record.name] = open_writer(self._logs / record.name, config, last.epoch - 1)
        log_epoch(self._writers[record.name], last.to_json())

    def ended(self, ledger: Ledger, record: TrialRecord) -> None:
        """Writes the hyperparameters with the best value, and closes the trial's file."""
        writer = self._writers.pop(record.name, None)
        if writer is None:
            return
        best = record.best(ledger.space.metric)
        if best is not None:
            log_best(writer, ledger.space.config(record.params, record.seed), best.f1_macro, best.epoch)
        writer.close()

    def close(self) -> None:
        """Closes the files of the trials that still run."""
        for writer in self._writers.values():
            writer.close()
