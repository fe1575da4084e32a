"""Reads what earlier LatentViT scripts left: checkpoints/best_model.pt, TensorBoard's logs, evaluation_results.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.io.files import JsonObject
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


METRICS = {
    "f1_macro": "macro-F1",
    "accuracy": "accuracy",
    "f1_weighted": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
}
"""The key of each metric in an evaluation -> its name."""
OF_CLASS = ("precision", "recall", "f1-score", "support")


@dataclass(frozen=True, kw_only=True)
class EarlierEvaluation:
    """What an evaluation_results.json of an earlier script says."""

    split: str
    n: int | None
    """The number of faces; None if it does not say."""
    metrics: dict[str, float]
    """The name of each metric, as a reader knows it -> its value."""
    classes: dict[str, dict[str, float]]
    """The name of each class -> its `OF_CLASS`, as scikit-learn's report has them; empty if it does not say."""
    confusion: list[list[int]] | None
    """The confusion matrix [C][C] of these classes; None if it does not say."""


def evaluation_of(content: JsonObject) -> EarlierEvaluation | None:
    """Reads the evaluation of an earlier script.

    Args:
        content: the content of evaluation_results.json, with the metrics at the top or under `metrics`.

    Returns:
        What it says; None if accuracy and macro-F1 are not among it.
    """
    inner = content.get("metrics")
    whole = {**content, **inner} if isinstance(inner, dict) else content
    metrics = {name: float(whole[key]) for key, name in METRICS.items() if _is_number(whole.get(key))}
    if not {METRICS["f1_macro"], METRICS["accuracy"]} <= metrics.keys():
        return None
    report = whole.get("classification_report")
    classes = {
        name: {key: float(values[key]) for key in OF_CLASS}
        for name, values in (report.items() if isinstance(report, dict) else ())
        if isinstance(values, dict) and all(_is_number(values.get(key)) for key in OF_CLASS) and " avg" not in name
    }
    n = next((int(whole[key]) for key in ("n", "test_dataset_size") if _is_number(whole.get(key))), None)
    confusion = whole.get("confusion_matrix")
    return EarlierEvaluation(
        split=str(whole.get("split") or "test"),
        n=n,
        metrics=metrics,
        classes=classes,
        confusion=confusion if _is_square(confusion, len(classes)) else None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_square(matrix: Any, n: int) -> bool:
    """Whether a value is a matrix of numbers [n][n], n of 1 or more."""
    if not isinstance(matrix, list) or len(matrix) != n or n == 0:
        return False
    return all(isinstance(row, list) and len(row) == n and all(map(_is_number, row)) for row in matrix)


def trial_of(folder: Path, checkpoint: Checkpoint) -> TrialRecord:
    """A run of an earlier script as a single trial.

    Args:
        folder: the folder of the run.
        checkpoint: its best model, whose epoch is the only one known where there are no logs.
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
