"""Computes the results of a sweep's models on its latents again: on validation, and on the test split that was opened.

That is no new look at the test split: the same models are measured on the same faces, and nothing is chosen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.places import BEST_MODEL
from fervit.evaluation.evaluate import RESULTS_FILE, Evaluation, measure, probabilities_of
from fervit.evaluation.paired.layers import mean_of
from fervit.evaluation.paired.simple_models import FILE as SIMPLE_FILE
from fervit.evaluation.paired.simple_models import compare_simple_models, fit_simple_models, read_simple_models
from fervit.evaluation.predictions import FILE as PREDICTIONS_FILE
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.statistics import confusion
from fervit.io.files import JsonObject
from fervit.latents import LatentSet
from fervit.search.outcome.sealed import SealedLook, read_looks
from fervit.search.splits import Splits
from fervit.system.gpu import device_at_hand
from fervit.training.metrics import metrics_of_counts
from fervit.verification.comparison import Comparison, DifferenceError
from fervit.verification.sweep import EndedSweep

ROUNDING, ROUNDING_ELSEWHERE = 1e-6, 1e-4
"""How far the probabilities of a model may be apart on the same processor, and on another."""
SHOWN = ("split", "seen", "n", "accuracy", "f1_macro", "intervals_95", "ece", "confusion_matrix")
"""The results without which there is nothing to compare or to show."""
SIMPLE_ELSEWHERE = 0.01
"""How far the results of simple models may be apart on another machine, whose rounding leads their training astray."""
ELSEWHERE = ("checkpoint_path", "latents", "looks_of_others")
"""The results that are of the place and the time of the evaluation."""


def check_data(sweep: EndedSweep, splits: Splits, compare: Comparison) -> None:
    """Compares the fingerprints of the latents with those that the sweep began with."""
    found = {"train": splits.train.fingerprint, "val": splits.val.fingerprint}
    if splits.test is not None:
        found["test"] = splits.test_fingerprint
    for session in sweep.sessions:
        for name, data in session["data"].items():
            where = f"{sweep.files.environment.name}: fingerprint of the latents of {name}"
            compare.same(where, data["sha256"], found.get(name, "that of no split"))
    whole = {"train": splits.train.origin, "val": splits.val.origin}  # also of a model that some of the rows trained
    for name, digest in sweep.model.data.items():
        where = f"best/{BEST_MODEL}: fingerprint of the latents of {name}"
        compare.same(where, digest, whole.get(name, "that of no split"))


def check_validation(sweep: EndedSweep, splits: Splits, compare: Comparison) -> None:
    """Measures the exported model on validation again."""
    best = sweep.chosen.best(sweep.space.metric)
    assert best is not None
    counts, doubtful = _counts(sweep.model, splits.val, _rounding(sweep))
    for name, value in metrics_of_counts(counts).items():
        where = f"{sweep.files.journal.name}, {sweep.chosen.name}, epoch {best.epoch}: {name} on validation"
        compare.same(where, getattr(best, name), value, 1e-9 + _swing(counts, doubtful))


def check_evaluation(
    sweep: EndedSweep, splits: Splits, compare: Comparison
) -> tuple[Evaluation, SealedLook | None, int]:
    """Evaluates the exported model again, on the split on which the sweep did, and those with fresh seeds.

    Returns:
        The evaluation that the sweep states, the look at the test split that it is the result of, and how many there
        were.
    """
    looks, fingerprint = read_looks(sweep.files), sweep.model.fingerprint
    name = sweep.files.sealed_test.name
    if splits.test is None:
        compare.same(f"{name}: looks at a test split", len(looks), 0)
        return _check_folder(sweep, splits, sweep.files.evaluation(), compare), None, 0
    mine = next((i for i, look in enumerate(looks) if look.checkpoint == fingerprint), None)
    if mine is None and not any(look.complete for look in looks):
        raise DifferenceError(f"{name}: says of no look at the test split")
    stated = None
    for i, look in enumerate(looks):
        folder = sweep.files.evaluation(i + 1)
        if not look.complete:
            continue
        found = _check_folder(sweep, splits, folder, compare, again=i == mine)
        for key in ("f1_macro", "accuracy", "n"):
            compare.same(f"{name}, look {i + 1}: {key}", getattr(look, key), found.metrics[key])
        compare.same(f"{name}, look {i + 1}: model", look.checkpoint, found.metrics["checkpoint"]["fingerprint"])
        if i == mine or (mine is None and i == len(looks) - 1):
            stated = (found, look)
    assert stated is not None
    _check_seeds(sweep, splits, stated[1], compare)
    return (*stated, len(looks))


def _check_folder(
    sweep: EndedSweep, splits: Splits, folder: Path, compare: Comparison, *, again: bool = True
) -> Evaluation:
    """Compares an evaluation with its predictions and, if `again`, with one that is made now."""
    stated = _read(folder / RESULTS_FILE, sweep)
    predictions = Predictions.read(folder / PREDICTIONS_FILE)
    where, split = f"{folder.name}/{RESULTS_FILE}", stated["split"]
    counts = predictions.confusion
    compare.same(f"{where}: confusion_matrix", stated["confusion_matrix"], counts.tolist())
    of_file = Evaluation(split=split, metrics=stated, output_dir=folder)  # type: ignore[arg-type]
    if not again:
        return of_file
    latents, voted = (splits.val, splits.voted_val) if splits.test is None else splits.read_test()
    tolerance = _check_predictions(sweep, latents, predictions, folder, compare)
    computed, *_ = measure(
        sweep.model,
        latents,
        split=split,
        training_sha256=splits.train.sha256,
        validation_sha256=None if splits.test is None else splits.val.sha256,
        exclusion=None if splits.test is None else splits.exclusion,
        training_mean=mean_of(splits.train.codes),
        votes=voted,
    )
    for key, value in json.loads(json.dumps(computed)).items():
        if key in stated and key not in ELSEWHERE:
            compare.same(f"{where}: {key}", stated[key], value, tolerance)
    return of_file


def _check_predictions(
    sweep: EndedSweep, latents: LatentSet, stated: Predictions, folder: Path, compare: Comparison
) -> float:
    """Predicts each face again, and returns how far metrics may be apart by faces that two classes share evenly."""
    where, rounding = f"{folder.name}/{PREDICTIONS_FILE}", _rounding(sweep)
    compare.same(f"{where}: fingerprint of the latents", stated.latents, latents.fingerprint)
    compare.same(f"{where}: fingerprint of the model", stated.checkpoint, sweep.model.fingerprint)
    compare.same(f"{where}: faces", stated.image_ids, latents.image_ids)
    compare.same(f"{where}: labels", stated.labels.tolist(), latents.labels.tolist())
    computed = probabilities_of(sweep.model.model().to(device_at_hand()), latents.codes)
    apart = np.abs(stated.probabilities - computed).max(axis=1)
    for row in np.flatnonzero(apart > rounding)[:1]:
        face = f"{where}, {latents.image_ids[row]}: probabilities"
        compare.same(face, stated.probabilities[row].tolist(), computed[row].tolist(), rounding)
    compare.numbers += computed.size
    flipped = int((stated.predicted != computed.argmax(axis=1)).sum())
    return rounding + _swing(stated.confusion, flipped)


def _check_seeds(sweep: EndedSweep, splits: Splits, look: SealedLook, compare: Comparison) -> None:
    """Measures the models with fresh seeds on the test split again, as far as they are there."""
    for score in look.seeds:
        run = next((one for one in sweep.records if (one.number, one.seed) == (look.trial, score.seed)), None)
        path = sweep.files.trial(run.name).best_model if run else None
        if path is None or not path.is_file():
            continue
        model, where = load_checkpoint(path), f"{sweep.files.sealed_test.name}, seed {score.seed}"
        compare.same(f"{where}: model", score.checkpoint, model.fingerprint)
        counts, doubtful = _counts(model, splits.read_test()[0], _rounding(sweep), batch_size=32)
        values = metrics_of_counts(counts)
        for name in ("f1_macro", "accuracy"):
            compare.same(f"{where}: {name}", getattr(score, name), values[name], 1e-9 + _swing(counts, doubtful))


def _counts(model: Checkpoint, latents: LatentSet, rounding: float, batch_size: int = 512) -> tuple[np.ndarray, int]:
    """Returns the confusion matrix, and how many faces another rounding could give another class."""
    probabilities = probabilities_of(model.model().to(device_at_hand()), latents.codes, batch_size)
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    counts = confusion(latents.labels, probabilities.argmax(axis=1), len(latents.label_set))
    return counts, int((first - second < rounding).sum())


def _swing(counts: np.ndarray, faces: int) -> float:
    """By how much a metric can change with the predictions of some faces: the most for those of the smallest class."""
    rows = counts.sum(axis=1)
    return 2 * faces / max(1, int(rows[rows > 0].min()))


def _rounding(sweep: EndedSweep) -> float:
    return ROUNDING if sweep.same_kind else ROUNDING_ELSEWHERE


def _read(path: Path, sweep: EndedSweep) -> JsonObject:
    where = path.relative_to(sweep.files.path)
    try:
        content: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        str(content["checkpoint"]["fingerprint"])
    except OSError:
        raise DifferenceError(f"{where} is missing") from None
    except (ValueError, KeyError, TypeError):
        raise DifferenceError(f"{where} is damaged") from None
    missing = [name for name in SHOWN if name not in content]
    if missing:
        raise DifferenceError(f"{where} lacks {missing[0]}")
    return content


def check_simple_models(sweep: EndedSweep, splits: Splits, evaluation: Evaluation, compare: Comparison) -> None:
    """Trains the simple models beside the chosen one again, if there are any, which takes up to a minute."""
    stated = read_simple_models(evaluation.output_dir)
    if not stated:
        return
    latents = splits.val if splits.test is None else splits.read_test()[0]
    predictions = Predictions.read(evaluation.output_dir / PREDICTIONS_FILE)
    models = fit_simple_models(splits.train, splits.val)
    computed = compare_simple_models(models, latents, predictions.predicted)
    where = f"{evaluation.output_dir.name}/{SIMPLE_FILE}"
    for one, again in zip(stated, computed, strict=True):
        known = {key: value for key, value in again.items() if key != "seconds"}
        compare.same(f"{where}: {one['name']}", one, known, 1e-6 if sweep.same_kind else SIMPLE_ELSEWHERE)
