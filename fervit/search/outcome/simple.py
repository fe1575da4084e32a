"""Measures simple models beside the model that a sweep has chosen, on the same codes and the same faces."""

from __future__ import annotations

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.evaluation.paired.simple_models import (
    SimpleScores,
    compare_simple_models,
    fit_simple_models,
    read_simple_models,
    write_simple_models,
)
from fervit.evaluation.predictions import FILE as PREDICTIONS_FILE
from fervit.evaluation.predictions import Predictions
from fervit.search.outcome.sealed import Verdict
from fervit.search.splits import Splits


def simple_models(splits: Splits, checkpoint: Checkpoint, verdict: Verdict) -> list[SimpleScores]:
    """Trains simple models and measures them where the chosen model was, or reads what an earlier session found.

    They choose nothing: the test split has been opened for the chosen model.

    Args:
        splits: the splits of the sweep.
        checkpoint: the chosen model.
        verdict: its evaluation.

    Returns:
        The results; none if the evaluation is of another model.
    """
    folder, evaluated = verdict.evaluation.output_dir, verdict.evaluation.metrics["checkpoint"]["fingerprint"]
    if evaluated != checkpoint.fingerprint:
        return []
    if known := read_simple_models(folder):
        return known
    latents = splits.val if splits.test is None else splits.read_test()[0]
    predictions = Predictions.read(folder / PREDICTIONS_FILE)
    scores = compare_simple_models(fit_simple_models(splits.train, splits.val), latents, predictions.predicted)
    write_simple_models(scores, folder)
    return scores
