"""Reads runs of earlier LatentViT scripts: checkpoints/best_model.pt, and the curves from TensorBoard's logs."""

from __future__ import annotations

import math
from pathlib import Path

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.search.records.record import TrialRecord
from fervit.training.epoch import EpochResult

TAGS = {
    "train_loss": "Loss/Train",
    "train_accuracy": "Train/accuracy",
    "val_loss": "Loss/Validation",
    "accuracy": "Validation/accuracy",
    "f1_macro": "Validation/f1_macro",
    "f1_weighted": "Validation/f1_weighted",
    "balanced_accuracy": "Validation/balanced_accuracy",
    "lr": "Learning_Rate",
}
"""The field of `EpochResult` -> the tag of its curve."""


def trial_of(folder: Path, checkpoint: Checkpoint) -> TrialRecord:
    """A run of an earlier script as a single trial.

    Args:
        folder: the folder of the run.
        checkpoint: its best model, whose epoch stands alone where there are no logs.
    """
    rows = _epochs(folder / "logs") or [_epoch(max(1, checkpoint.epoch), checkpoint.metrics, 0.0)]
    return TrialRecord(
        number=0,
        name=folder.name,
        seed=checkpoint.config.seed,
        params={},
        epochs=rows,
        state="finished",
        seconds=sum(row.seconds for row in rows),
    )


def _epochs(logs: Path) -> list[EpochResult]:
    """The epochs in a folder of TensorBoard's logs that have a macro-F1; an empty list if it cannot be read."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

        events = EventAccumulator(str(logs))
        events.Reload()
        known = {name: tag for name, tag in TAGS.items() if tag in events.Tags()["scalars"]}
        curves = {name: {event.step: event for event in events.Scalars(tag)} for name, tag in known.items()}
    except Exception:  # whatever is wrong with the logs, the model can still be shown
        return []
    steps = sorted(curves.get("f1_macro", {}))
    first, before, rows = 1 - min(steps, default=1), None, []
    for step in steps:
        time = curves["f1_macro"][step].wall_time
        seconds = 0.0 if before is None else max(0.0, time - before)
        values = {name: curve[step].value for name, curve in curves.items() if step in curve}
        rows.append(_epoch(step + max(0, first), values, seconds))
        before = time
    return rows


def _epoch(number: int, values: dict[str, float], seconds: float) -> EpochResult:
    found = {name: float(values.get(name, math.nan)) for name in TAGS}
    return EpochResult(epoch=number, seconds=seconds, samples_per_second=math.nan, **found)
