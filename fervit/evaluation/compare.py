"""Compares several models and tests which of their differences are significant."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from fervit.checkpoints.checkpoint import BEST_MODEL, checkpoint_in, load_checkpoint
from fervit.emotions import NUM_EMOTIONS
from fervit.errors import UserError
from fervit.evaluation.comparison import Compared, Contender, Standing
from fervit.evaluation.evaluate import RESULTS_FILE, latest_evaluation, predictions_of
from fervit.evaluation.predictions import FILE, Predictions
from fervit.evaluation.statistics import CONFIDENCE, RESAMPLES, bootstrap_intervals, confusion, percentile_interval
from fervit.files import JsonObject
from fervit.latents import LatentSet
from fervit.storage import name_of
from fervit.training.metrics import f1_macro_of_counts, metrics_of_counts

SIGNIFICANT = 1 - CONFIDENCE


def runs_in(path: Path) -> list[Path]:
    """The runs that a path stands for: itself, or the runs below it, as earlier scripts write into <name>/<time>/."""
    if not path.is_dir() or (path / "checkpoints").is_dir() or (path / RESULTS_FILE).is_file():
        return [path]
    try:
        checkpoint_in(path)
    except UserError:
        below = [inner for inner in sorted(path.iterdir()) if (inner / "checkpoints" / BEST_MODEL).is_file()]
        return below or [path]
    return [path]


def read_contender(path: Path, latents: LatentSet | None = None, batch_size: int = 32) -> Contender:
    """Reads a model to compare.

    Args:
        path: a run, a sweep, a checkpoint, or a folder that launch/evaluate.py wrote.
        latents: the rows to predict now; None takes the predictions of an earlier evaluation, if there are any.
        batch_size: the number of rows in a forward pass.

    Raises:
        UserError: the path is none of these, or the model cannot read these rows.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such run; give folders of experiments/, checkpoints, or evaluations")
    name = _name_of(path.absolute())
    found = _earlier_predictions(path) if latents is None else None
    results = _earlier_results(path) if latents is None and found is None else None
    try:
        weights: Path | None = checkpoint_in(path)
    except UserError:
        if found is None and results is None:
            raise
        weights = None
    if weights is None:
        return Contender(name=name, validation={}, predictions=found, results=results)
    checkpoint = load_checkpoint(weights)
    if found is not None and found.checkpoint != checkpoint.fingerprint:
        found = None  # these are predictions of a model that was there before
    if latents is not None:
        found = predictions_of(checkpoint, latents, name_of(latents.path), batch_size)
    return Contender(name=name, validation=checkpoint.metrics, predictions=found, results=results)


def compare(contenders: Sequence[Contender]) -> list[Compared]:
    """Compares models by macro-F1.

    The models that were evaluated on the most common rows are compared with the best of them. Models evaluated on
    other rows are marked "other rows".

    Returns:
        A row for each model: the compared ones with the best first, then those on other rows, then those without
        predictions.
    """
    with_predictions = [c for c in contenders if c.predictions is not None]
    fingerprints = [c.predictions.latents for c in with_predictions if c.predictions is not None]
    rows_of_most = max(dict.fromkeys(fingerprints), key=fingerprints.count, default="")
    scored = sorted(with_predictions, key=lambda c: -_score(c))
    same = [c for c in scored if c.predictions is not None and c.predictions.latents == rows_of_most]
    others = [c for c in scored if c.predictions is not None and c.predictions.latents != rows_of_most]
    rows: list[Compared] = []
    if same:
        best = same[0].predictions
        assert best is not None
        rivals = [c.predictions for c in same[1:] if c.predictions is not None]
        p_values = holm([mcnemar(best, rival) for rival in rivals])
        rows.append(_row(same[0], "best"))
        for contender, rival, p in zip(same[1:], rivals, p_values, strict=True):
            behind = f1_behind(best, rival)
            rows.append(_row(contender, _standing(best, rival, p, behind), p, behind))
    rows += [_row(contender, "other rows") for contender in others]
    silent = [c for c in contenders if c.predictions is None]
    return rows + [_row(c, "not evaluated") for c in sorted(silent, key=lambda c: -c.validation.get("f1_macro", 0.0))]


def _standing(best: Predictions, rival: Predictions, p: float, behind: tuple[float, float]) -> Standing:
    """How a rival compares to the best, given the p-value and the interval of the difference of macro-F1."""
    lead = int((rival.predicted == rival.labels).sum()) - int((best.predicted == best.labels).sum())
    if p < SIGNIFICANT and lead > 0:
        return "more accurate"
    return "worse" if p < SIGNIFICANT or behind[0] > 0 else "tie"


def mcnemar(one: Predictions, other: Predictions) -> float:
    """Computes the exact p-value of the hypothesis that two models are right equally often (McNemar, 1947).

    The predictions must be for the same rows.
    """
    right, other_right = one.predicted == one.labels, other.predicted == other.labels
    only_one, only_other = int((right & ~other_right).sum()), int((~right & other_right).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for the number of tests (Holm, 1979). The order is kept."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def f1_behind(best: Predictions, other: Predictions, seed: int = 0) -> tuple[float, float]:
    """Computes the 95 % interval of the best model's macro-F1 minus the other's on the same rows.

    The rows are resampled for both models together.

    Args:
        best: the predictions of the best model.
        other: the predictions of the other model.
        seed: the seed of the resampling.
    """
    k, n = NUM_EMOTIONS, len(best.labels)
    cells = np.bincount((best.labels * k + best.predicted) * k + other.predicted, minlength=k**3)
    drawn = np.random.default_rng(seed).multinomial(n, cells / n, size=RESAMPLES).reshape(-1, k, k, k)
    differences = [f1_macro_of_counts(sample.sum(axis=2)) - f1_macro_of_counts(sample.sum(axis=1)) for sample in drawn]
    low, high = percentile_interval(differences)
    return low, high


def _score(contender: Contender) -> float:
    assert contender.predictions is not None
    return f1_macro_of_counts(confusion(contender.predictions.labels, contender.predictions.predicted))


def _row(
    contender: Contender, standing: Standing, p: float | None = None, behind: tuple[float, float] | None = None
) -> Compared:
    validation = contender.validation.get("f1_macro")
    if contender.predictions is None:
        results = contender.results or {}
        return Compared(
            name=contender.name,
            validation_f1_macro=validation,
            n=int(results.get("n", 0)),
            accuracy=results.get("accuracy"),
            f1_macro=results.get("f1_macro"),
            standing="other rows" if results else standing,
        )
    counts = confusion(contender.predictions.labels, contender.predictions.predicted)
    metrics, intervals = metrics_of_counts(counts), bootstrap_intervals(counts)
    (low, high), (f1_low, f1_high) = intervals["accuracy"], intervals["f1_macro"]
    return Compared(
        name=contender.name,
        validation_f1_macro=validation,
        split=contender.predictions.split,
        n=len(contender.predictions.labels),
        accuracy=metrics["accuracy"],
        accuracy_95=(low, high),
        f1_macro=metrics["f1_macro"],
        f1_macro_95=(f1_low, f1_high),
        p_mcnemar=p,
        f1_macro_behind_95=behind,
        standing=standing,
    )


def _name_of(path: Path) -> str:
    """The name of a model: the run's name rather than generic names such as best_model.pt, best or evaluation."""
    if path.parent.name in ("checkpoints", "best"):
        return _name_of(path.parents[1])
    if re.fullmatch(r"\d{4}-?\d\d-?\d\d[_T-]?[\d-]*", path.name):  # a time, as in <name>/<time>/ of earlier scripts
        return f"{path.parent.name}/{path.name}"
    generic = path.is_file() or path.name.startswith(("best", "evaluation", "eval_results"))
    return f"{path.parent.name}/{path.name}" if generic else path.name


def _earlier_results(path: Path) -> JsonObject | None:
    """The metrics of an evaluation that an earlier script wrote into a folder, without predictions to compare."""
    for folder in (path, *(path / name for name in ("eval_results", "evaluation"))):
        try:
            content = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        metrics = content.get("metrics", content) if isinstance(content, dict) else {}
        if isinstance(metrics, dict) and all(isinstance(metrics.get(k), int | float) for k in ("accuracy", "f1_macro")):
            n = content.get("test_dataset_size", content.get("n", 0))
            return {"accuracy": metrics["accuracy"], "f1_macro": metrics["f1_macro"], "n": n}
    return None


def _earlier_predictions(path: Path) -> Predictions | None:
    """The predictions of the latest evaluation in a folder, or of a folder that is an evaluation itself."""
    if not path.is_dir():
        return None
    folder = path if (path / RESULTS_FILE).is_file() else latest_evaluation(path)
    return Predictions.read(folder / FILE) if folder is not None and (folder / FILE).is_file() else None
