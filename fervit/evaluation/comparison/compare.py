"""Compares several models and tests which of their differences are significant."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from fervit.checkpoints.checkpoint import load_checkpoint
from fervit.checkpoints.places import BEST_MODEL, checkpoint_in
from fervit.errors import NO_RUN, UserError
from fervit.evaluation.comparison.confidence_set import confidence_set
from fervit.evaluation.comparison.contenders import Compared, Contender, Standing
from fervit.evaluation.evaluate import FOLDER, RESULTS_FILE, evaluations_in, predictions_of
from fervit.evaluation.intervals import CONFIDENCE, intervals_of
from fervit.evaluation.predictions import FILE, Predictions
from fervit.io.files import JsonObject
from fervit.io.storage import name_of
from fervit.latents import LatentSet
from fervit.latents.looks import Seen, others_in_words, record_look
from fervit.training.metrics import f1_macro_of_counts, metrics_of_counts


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


def read_contender(
    path: Path, latents: LatentSet | None = None, batch_size: int = 32, *, heads: int | None = None
) -> Contender:
    """Reads a model to compare.

    Args:
        path: a run, a sweep, a checkpoint, or a folder that launch/evaluate.py wrote.
        latents: the rows to predict now; None takes the predictions of an earlier evaluation, if there are any: in the
            run's folder, or in the working directory, where `evaluate` writes.
        batch_size: the number of rows in a forward pass.
        heads: the number of attention heads of another script's model whose file does not name it.

    Raises:
        UserError: the path is none of these, or the model cannot read these rows.
    """
    if not path.exists():
        raise UserError(f"{path}: {NO_RUN}")
    name = _name_of(path.absolute())
    earlier = _earlier_predictions(path) if latents is None else []
    results = _earlier_results(path) if latents is None and not earlier else None
    try:
        weights: Path | None = checkpoint_in(path)
    except UserError:
        if not earlier and results is None:
            raise
        weights = None
    if weights is None:
        predictions = earlier[0] if earlier else None
        return Contender(name=name, validation={}, predictions=predictions, results=results)
    checkpoint = load_checkpoint(weights, heads=heads)
    nearby = _predictions_nearby() if latents is None else []
    # Others are predictions of a model that was there before, or of an earlier choice.
    found = next((one for one in (*earlier, *nearby) if one.checkpoint == checkpoint.fingerprint), None)
    if latents is not None:
        found = predictions_of(checkpoint, latents, name_of(latents.path), batch_size)
    rows = latents.origin if latents is not None else found.latents if found is not None else None
    seen = rows in checkpoint.data.values()
    return Contender(name=name, validation=checkpoint.metrics, predictions=found, results=results, seen=seen)


def record_comparison(contenders: Sequence[Contender], latents: LatentSet, aside: Path) -> list[str]:
    """Records that models were evaluated on a split, unless the split trained or chose all of them.

    Args:
        contenders: the models, with their predictions for the split.
        latents: the split.
        aside: the folder for the record if it cannot be written beside the split.

    Returns:
        What the user must know: where the record is, if not beside the split, and how often others looked before.
    """
    unseen = [c for c in contenders if c.predictions is not None and not c.seen]
    if not unseen:
        return []
    found = {}
    for one in unseen:
        assert one.predictions is not None
        values = metrics_of_counts(one.predictions.confusion)
        headline = {"f1_macro": values["f1_macro"], "accuracy": values["accuracy"]}
        found[one.predictions.checkpoint] = Seen(checkpoint=one.predictions.checkpoint, **headline)
    look = record_look(latents, list(found), aside)
    look.finish(list(found.values()))
    return [line for line in (look.remark, others_in_words(look.others)) if line]


def compare(contenders: Sequence[Contender]) -> list[Compared]:
    """Compares models by macro-F1.

    The models that were evaluated on the most common rows are compared with each other: those that are significantly
    worse than another one are called worse, at a rate of error that holds for all of them together (see
    `confidence_set`). Models evaluated on other rows are marked "other rows".

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
    rows: list[Compared] = _of_same_rows(same)
    rows += [_row(contender, "other rows") for contender in others]
    silent = [c for c in contenders if c.predictions is None]
    return rows + [_row(c, "not evaluated") for c in sorted(silent, key=lambda c: -c.validation.get("f1_macro", 0.0))]


def _of_same_rows(same: Sequence[Contender]) -> list[Compared]:
    """Compares models on the same rows, the one with the highest macro-F1 first."""
    said = [c.predictions for c in same if c.predictions is not None]
    if not said:
        return []
    best, rivals = said[0], said[1:]
    which = confidence_set(best.labels, [one.predicted for one in said])
    p_mcnemar = holm([mcnemar(best, rival) for rival in rivals])
    rows = [_row(same[0], "best")]
    for i, contender in enumerate(same[1:], start=1):
        low, high = which.behind[i]
        row = _row(contender, "worse" if which.out[i] else "tie")
        more = p_mcnemar[i - 1] < 1 - CONFIDENCE and _right(said[i]) > _right(best)
        row = replace(row, p_mcnemar=p_mcnemar[i - 1], more_accurate=more)
        rows.append(replace(row, p_among_best=float(which.p[i]), f1_macro_behind_95=(float(low), float(high))))
    return rows


def _right(predictions: Predictions) -> int:
    return int((predictions.predicted == predictions.labels).sum())


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


def _score(contender: Contender) -> float:
    assert contender.predictions is not None
    return f1_macro_of_counts(contender.predictions.confusion)


def _row(contender: Contender, standing: Standing) -> Compared:
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
    counts, classes = contender.predictions.confusion, contender.predictions.label_set.classes
    metrics, intervals = metrics_of_counts(counts), intervals_of(counts, classes)
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


def _earlier_predictions(path: Path) -> list[Predictions]:
    """The predictions of the evaluations in a folder, the last first, or of a folder that is an evaluation itself."""
    if not path.is_dir():
        return []
    folders = [path] if (path / RESULTS_FILE).is_file() else evaluations_in(path)
    return [Predictions.read(folder / FILE) for folder in folders if (folder / FILE).is_file()]


def _predictions_nearby() -> list[Predictions]:
    """The predictions of the evaluations that `evaluate` has written into the working directory, the last first."""
    found = []
    for folder in sorted(Path.cwd().glob(f"{FOLDER}*"), key=lambda path: (len(path.name), path.name), reverse=True):
        with suppress(UserError):  # a damaged one is nothing that the user has named
            if (folder / RESULTS_FILE).is_file() and (folder / FILE).is_file():
                found.append(Predictions.read(folder / FILE))
    return found
