"""Makes the record of a trial agree with the model that the trial has written.

A trial writes its best model before it reports an epoch after which it may be stopped, and at its end. When a search
ends while its trials are training, the last reports do not arrive, and a model may then be of a later epoch than the
record knows. After the loss of a process, it may be of an earlier one.
"""

from __future__ import annotations

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.errors import UserError
from fervit.search.ledger import Ledger
from fervit.search.records.record import TrialRecord
from fervit.search.records.sweep_folder import SweepFolder
from fervit.training.epoch import FIELDS, EpochResult


def settle_running(ledger: Ledger, files: SweepFolder) -> None:
    """Settles the running trials of the ledger's source, before their end is recorded."""
    for record in ledger.running:
        settle(ledger, files, record)


def settle(ledger: Ledger, files: SweepFolder, record: TrialRecord) -> Checkpoint | None:
    """Makes the best epoch of a trial that of its model on disk.

    Args:
        ledger: records the epoch of the model, if the record has another best epoch.
        files: the folder of the sweep.
        record: the trial or rerun.

    Returns:
        The model, whose epoch is the best one of the record; None if there is no model that can be read.
    """
    path = files.trial(record.name).best_model
    if not path.is_file():
        return None
    try:
        checkpoint = load_checkpoint(path)
    except UserError:  # the model cannot be used
        return None
    if not agrees(record, checkpoint, ledger):
        row = _row_of(checkpoint)
        if row is None:
            return None
        ledger.settle(record.name, row, finished=row.epoch >= ledger.space.config(record.params, record.seed).epochs)
    return checkpoint if agrees(record, checkpoint, ledger) else None


def agrees(record: TrialRecord, checkpoint: Checkpoint, ledger: Ledger) -> bool:
    """Returns whether a model is of the best epoch of a record, and both have the same value of the metric."""
    metric = ledger.space.metric
    best = record.best(metric)
    if best is None or best.epoch != checkpoint.epoch:
        return False
    value = checkpoint.metrics.get(metric.name)
    return value is None or value == metric.value(best)


def _row_of(checkpoint: Checkpoint) -> EpochResult | None:
    """Returns the epoch of a model; None if an earlier version wrote it without all metrics."""
    fields = {"epoch": checkpoint.epoch, **checkpoint.metrics}
    return EpochResult.from_json(fields) if fields.keys() >= set(FIELDS) else None
