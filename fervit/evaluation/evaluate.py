"""The evaluation of one checkpoint on one split."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch
from scipy.special import rel_entr

from fervit.checkpoints.checkpoint import Checkpoint
from fervit.errors import UserError
from fervit.evaluation import figures
from fervit.evaluation.attention import FLAT, attend
from fervit.evaluation.crossing import Crossing
from fervit.evaluation.intervals import intervals_of
from fervit.evaluation.paired.layers import PICTURE_FILE as LAYERS_FILE
from fervit.evaluation.paired.layers import TABLE_FILE as LAYERS_TABLE_FILE
from fervit.evaluation.paired.layers import draw as draw_layers
from fervit.evaluation.paired.layers import groups_of, layer_drops, write_table
from fervit.evaluation.predictions import FILE as PREDICTIONS_FILE
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.results import (
    Across,
    Copies,
    EvaluatedCheckpoint,
    EvaluationResults,
    Excluded,
    LayerDrops,
    MeanAttention,
    Provenance,
    Scores,
    Voted,
    rows_of_report,
)
from fervit.evaluation.statistics import calibrate, describe, ece_if_calibrated
from fervit.images.finder import FaceFinder
from fervit.io.disk import remove
from fervit.io.files import JsonObject, write_json
from fervit.io.storage import absolute
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion
from fervit.model import LatentViT
from fervit.plotting import draw_confusion_matrix
from fervit.system.gpu import device_at_hand, exact_arithmetic
from fervit.system.program import called
from fervit.system.side_channels import SideChannel

RESULTS_FILE = "evaluation_results.json"
PICTURES = 6
"""The kinds of pictures that an evaluation draws."""
FOLDER = "eval_results"
"""The folder that an evaluation is written into where the user names none."""
CONFUSION_FILE = "confusion_matrix.png"
CLASSES_FILE = "class_metrics.png"
CONFIDENCE_FILE = "prediction_confidence.png"
MEAN_ATTENTION_FILE = "attention_mean.png"
SAMPLE_FILE = "attention_sample_{}.png"
FILES = (
    *(RESULTS_FILE, PREDICTIONS_FILE, CONFUSION_FILE, CLASSES_FILE, CONFIDENCE_FILE, MEAN_ATTENTION_FILE),
    *(SAMPLE_FILE.format("*"), LAYERS_TABLE_FILE, LAYERS_FILE),
)
"""The patterns of the names of all files that `evaluate` may write."""
SAMPLES = 5
ATTENTION_FACES = 100
"""The attention of at most this many faces of each class is averaged."""
FLAT_REMARK = "attention is flat: nearly even over the W+ layers, as in a model that has hardly been trained"
SEEN = {"val": "NOT unseen: these faces chose the model", "train": "NOT unseen: the model was trained on these faces"}
"""The warnings for rows that took part in the training."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """What an evaluation found. `repr` gives it on one line, as a notebook shows it."""

    split: str
    """"test", or "val" if there is no test split, in which case the metrics are not of unseen data."""
    metrics: EvaluationResults
    """The content of evaluation_results.json."""
    output_dir: Path
    """The folder that the files were written into."""
    remarks: tuple[str, ...] = ()
    """The pictures that could not be drawn, and why."""

    def __repr__(self) -> str:
        brief = ", ".join(f"{name} {self.metrics[name]:.3f}" for name in ("accuracy", "f1_macro"))
        return f"Evaluation({self.split}: {self.metrics['n']} faces, {brief}, output_dir={str(self.output_dir)!r})"


def predict(
    checkpoint: Checkpoint, latents: LatentSet, batch_size: int = 32, crossing: Crossing | None = None
) -> np.ndarray:
    """Predicts the probabilities of the model's classes, float32 [n, C], in the order of the rows.

    Raises:
        UserError: the codes have another shape than the model's, or come from another encoder, or have other classes.
    """
    check_fit(checkpoint, latents, crossing)
    return probabilities_of(checkpoint.model().to(device_at_hand()), latents.codes, batch_size)


def probabilities_of(model: torch.nn.Module, codes: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Runs a model on codes [n, seq_len, latent_dim] and returns the probabilities of the classes, float32 [n, C].

    It computes in float32 on the model's device.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), exact_arithmetic() if device.type == "cuda" else nullcontext():
        starts = range(0, max(1, len(codes)), batch_size)  # of no rows, too, the classes are known
        batches = (codes[start : start + batch_size] for start in starts)
        parts = [model(torch.from_numpy(batch.astype(np.float32)).to(device)).softmax(dim=1) for batch in batches]
    return torch.cat(parts).cpu().numpy()


def predictions_of(
    checkpoint: Checkpoint,
    latents: LatentSet,
    split: str,
    batch_size: int = 32,
    probabilities: np.ndarray | None = None,
) -> Predictions:
    """Predicts the rows of a split.

    Args:
        checkpoint: the model.
        latents: the rows.
        split: the name of the rows.
        batch_size: the number of rows in a forward pass.
        probabilities: those of the rows, float32 [n, C]; None to predict them now.

    Raises:
        UserError: the codes have another shape than the model's, come from another encoder, or have other classes.
    """
    return Predictions(
        image_ids=latents.image_ids,
        labels=latents.labels,
        probabilities=predict(checkpoint, latents, batch_size) if probabilities is None else probabilities,
        split=split,
        latents=latents.fingerprint,
        checkpoint=checkpoint.fingerprint,
        label_set=latents.label_set,
    )


class About(TypedDict, total=False):
    """What is known about the rows of an evaluation and about the model; all of it may be left out."""

    batch_size: int
    """The number of rows in a forward pass; 32."""
    training_sha256: Collection[str] | None
    """The hashes of the pictures that the model was trained on, to find copies; None if not at hand."""
    validation_sha256: Collection[str] | None
    """The same of the pictures that chose it."""
    others: int | None
    """The number of earlier looks at the split by others (`fervit.latents.looks`); None for no look."""
    checkpoint_path: str | None
    """The path of the model, for the results; None if it has none."""
    crossing: Crossing | None
    """How the model's classes are mapped onto those of the rows; None if they are the same."""
    exclusion: Exclusion | None
    """Faces without which the metrics are computed as well; None for none."""
    votes: JsonObject | None
    """What the votes of taggers changed of the rows (`Votes.record`); None for nothing."""
    training_mean: np.ndarray | None
    """The mean of the training codes, float [seq_len, latent_dim], by which layers are replaced to see what the model
    loses; None if it is not at hand."""
    stepped: Callable[[], object] | None
    """Is called after each of the `steps_of` an evaluation: the passes of the model over rows, and the pictures."""


def steps_of(checkpoint: Checkpoint, training_mean: np.ndarray | None) -> int:
    """Returns the steps of an evaluation: the passes of the model over whole codes and without layers, the pictures."""
    passes = 1 if training_mean is None else 2 + len(groups_of(checkpoint.config.seq_len))
    return passes + PICTURES


def evaluate(
    checkpoint: Checkpoint,
    latents: LatentSet,
    output_dir: Path,
    *,
    split: str = "test",
    samples: int = SAMPLES,
    faces: FaceFinder | None = None,
    **about: Unpack[About],
) -> Evaluation:
    """Evaluates a model and writes predictions, pictures and, last, evaluation_results.json.

    Args:
        checkpoint: the model.
        latents: the rows to evaluate on.
        output_dir: the folder for the files, which is made if it does not exist.
        split: the name of the rows in results and pictures.
        samples: the number of faces whose attention is drawn, spread over the classes.
        faces: finds the pictures of the rows; None if they are not at hand.
        about: what is known about the rows and the model.

    Raises:
        UserError: the codes have another shape than the model's, come from another encoder, or have other classes.
    """
    results, predictions, latents = measure(checkpoint, latents, split=split, **about)
    predictions.write(output_dir / PREDICTIONS_FILE)
    model = checkpoint.model().to(device_at_hand())
    drawing = partial(_draw_samples, model, latents, predictions, samples, faces)
    stepped = about.get("stepped") or (lambda: None)
    remarks = _draw_pictures(results, latents, predictions, drawing, output_dir, stepped)
    write_json(output_dir / RESULTS_FILE, results)
    return Evaluation(split=split, metrics=results, output_dir=output_dir, remarks=remarks)


def measure(
    checkpoint: Checkpoint, latents: LatentSet, *, split: str, **about: Unpack[About]
) -> tuple[EvaluationResults, Predictions, LatentSet]:
    """Evaluates a model without writing anything; the arguments are those of `evaluate`.

    Returns:
        The content of evaluation_results.json, the predictions, and the rows that took part.

    Raises:
        UserError: the codes have another shape than the model's, come from another encoder, or have other classes.
    """
    batch_size, crossing = about.get("batch_size", 32), about.get("crossing")
    seen = next((name for name, known in checkpoint.data.items() if known == latents.origin), None)
    stepped = about.get("stepped") or (lambda: None)
    latents, predictions, across = _predicted(checkpoint, latents, split, batch_size, crossing)
    stepped()
    classes, model = latents.label_set.classes, checkpoint.model().to(device_at_hand())
    results: EvaluationResults = {
        "split": split,
        "seen": seen,
        "labels": list(classes),
        **across,
        **describe(predictions.labels, predictions.predicted, classes),
        "ece": calibrate(predictions.labels, predictions.probabilities).ece,
        "ece_if_calibrated": ece_if_calibrated(predictions.probabilities),
        "intervals_95": intervals_of(predictions.confusion, classes),
        "copies_of_training": _copies(latents, predictions.predicted, about.get("training_sha256")),
        "copies_of_validation": _copies(latents, predictions.predicted, about.get("validation_sha256")),
        "looks_of_others": about.get("others"),
        "attention": _mean_attention(model, latents, batch_size),
        "layers": _layers(model, latents, about.get("training_mean"), batch_size, crossing, stepped),
        "excluded": _excluded(latents, predictions.predicted, split, about.get("exclusion")),
        "votes": fit_to_votes(latents, predictions.probabilities, about.get("votes")),
        **_provenance(checkpoint, predictions, latents, about.get("checkpoint_path")),
    }
    return results, predictions, latents


def _provenance(
    checkpoint: Checkpoint, predictions: Predictions, latents: LatentSet, checkpoint_path: str | None
) -> Provenance:
    return {
        "checkpoint": _evaluated_checkpoint(checkpoint, predictions),
        "checkpoint_path": checkpoint_path,
        "model_config": {**checkpoint.config.model(), "num_classes": len(checkpoint.label_set)},
        "test_dataset_size": len(latents),
        "latents": {"path": absolute(latents.path), "fingerprint": predictions.latents},
        "encoder": latents.encoder.to_json(),
    }


class _Taken(TypedDict, total=False):
    across: Across


def _predicted(
    checkpoint: Checkpoint, latents: LatentSet, split: str, batch_size: int, crossing: Crossing | None
) -> tuple[LatentSet, Predictions, _Taken]:
    """The rows that take part, their predictions, and what is recorded about a mapping of classes."""
    if crossing is None:
        return latents, predictions_of(checkpoint, latents, split, batch_size), {}
    rows = crossing.rows(latents)
    of_model = predict(checkpoint, rows, batch_size, crossing)
    predictions = predictions_of(checkpoint, rows, split, probabilities=crossing.probabilities(of_model))
    return rows, predictions, {"across": crossing.describe(latents, of_model, rows.labels)}


def _draw_pictures(
    results: EvaluationResults,
    latents: LatentSet,
    predictions: Predictions,
    draw_samples: Callable[[Path], None],
    output_dir: Path,
    stepped: Callable[[], object],
) -> tuple[str, ...]:
    """Draws all pictures, and returns a line for each that cannot be drawn, which takes nothing from the results."""
    remarks: list[str] = []
    title = _title(results["split"], results, results["seen"], latents)
    calibration = calibrate(predictions.labels, predictions.probabilities)
    counts, intervals = np.array(results["confusion_matrix"]), results["intervals_95"]
    classes = latents.label_set.classes
    report, attention = rows_of_report(results), results["attention"]
    by_chance = results["ece_if_calibrated"]
    pictures: dict[str, Callable[[Path], object]] = {
        CONFUSION_FILE: lambda path: draw_confusion_matrix(counts, classes, title, path),
        CLASSES_FILE: lambda path: figures.draw_class_metrics(report, intervals, classes, title, path),
        CONFIDENCE_FILE: lambda path: figures.draw_confidence(predictions, calibration, by_chance, title, path),
        MEAN_ATTENTION_FILE: lambda path: _draw_mean_attention(attention, results["split"], path),
        LAYERS_FILE: lambda path: _draw_layers(results["layers"], classes, results["split"], path.parent),
        SAMPLE_FILE.format("*"): lambda path: draw_samples(path.parent),
    }
    for name, draw in pictures.items():
        SideChannel(name, remarks.append)(draw, output_dir / name)
        stepped()
    return tuple(remarks)


def _title(split: str, metrics: Scores, seen: str | None, latents: LatentSet) -> str:
    """The title of the pictures: the main metrics, and what makes them optimistic or meaningless."""
    title = f"{split}: accuracy {metrics['accuracy']:.3f}, macro-F1 {metrics['f1_macro']:.3f}, {len(latents)} faces"
    if seen is not None:
        title += f", {SEEN.get(seen, seen)}"
    if latents.encoder.untrained:
        title += " (untrained demo encoder)"
    return title


def _evaluated_checkpoint(checkpoint: Checkpoint, predictions: Predictions) -> EvaluatedCheckpoint:
    return {
        "fingerprint": predictions.checkpoint,
        "epoch": checkpoint.epoch,
        "validation": checkpoint.metrics,
        "data": checkpoint.data,
    }


def evaluations_in(folder: Path) -> list[Path]:
    """Finds evaluation/, evaluation_2/, ... in a folder that hold results, the last first.

    Folders of other names, such as evaluation_train/, are of other rows.
    """
    found = [path for path in folder.glob("evaluation*") if re.fullmatch(r"evaluation(_\d+)?", path.name)]
    with_results = [path for path in found if (path / RESULTS_FILE).is_file()]
    return sorted(with_results, key=lambda path: (len(path.name), path.name), reverse=True)


def _copies(latents: LatentSet, predicted: np.ndarray, pictures: Collection[str] | None) -> Copies | None:
    """Counts the rows that show one of the pictures, and computes the metrics without them; None if not known."""
    if pictures is None:
        return None
    known = {digest for digest in pictures if digest}
    copy = np.array([digest in known for digest in latents.sha256])
    return {"n": int(copy.sum()), "without_copies": _without(copy, latents, predicted)}


def fit_to_votes(latents: LatentSet, probabilities: np.ndarray, record: JsonObject | None) -> Voted | None:
    """Measures how predictions fit the votes of taggers; None without votes.

    Args:
        latents: the rows, with the shares of the votes as targets if they are used as a distribution.
        probabilities: the predicted probabilities, float32 [n, classes].
        record: what the votes changed (`Votes.record`); None without votes.
    """
    if record is None:
        return None
    if latents.targets is None:
        return {"record": record, "kl_divergence": None, "expected_accuracy": None}
    shares = latents.targets.astype(np.float64)
    expected = shares[np.arange(len(shares)), probabilities.argmax(axis=1)].mean()
    divergence = rel_entr(shares, np.maximum(probabilities, 1e-12)).sum(axis=1).mean()
    return {"record": record, "kl_divergence": float(divergence), "expected_accuracy": float(expected)}


def _excluded(latents: LatentSet, predicted: np.ndarray, split: str, exclusion: Exclusion | None) -> Excluded | None:
    """Computes the metrics without the rows that lists of faces name; None without such lists."""
    if exclusion is None:
        return None
    listed = exclusion.rows_of(latents)
    return {
        "lists": exclusion.record({split: int(listed.sum())}),
        "without": _without(listed, latents, predicted),
    }


def _without(some: np.ndarray, latents: LatentSet, predicted: np.ndarray) -> Scores | None:
    """Computes the metrics without some rows, bool [n]; None if these are all rows or none."""
    if not some.any() or some.all():
        return None
    of_others = describe(latents.labels[~some], predicted[~some], latents.label_set.classes)
    return {
        "n": of_others["n"],
        "accuracy": of_others["accuracy"],
        "f1_macro": of_others["f1_macro"],
        "f1_weighted": of_others["f1_weighted"],
        "balanced_accuracy": of_others["balanced_accuracy"],
    }


def _mean_attention(model: LatentViT, latents: LatentSet, batch_size: int) -> MeanAttention:
    """Returns the mean attention rollout of each class."""
    classes, peaks = {}, []
    for label, emotion in enumerate(latents.label_set.classes):
        rows = np.flatnonzero(latents.labels == label)
        if len(rows):
            some = rows[np.linspace(0, len(rows) - 1, min(len(rows), ATTENTION_FACES)).round().astype(int)]
            maps = attend(model, latents.codes[some], batch_size)
            classes[emotion] = maps.rollout.mean(axis=0)
            peaks.append(maps.peaks)
    peak = float(np.concatenate(peaks).mean())
    shares = {emotion: [round(float(share), 6) for share in rollout] for emotion, rollout in classes.items()}
    return {"flat": peak < FLAT, "peak": round(peak, 4), "rollout": shares}


def _layers(
    model: LatentViT,
    latents: LatentSet,
    mean: np.ndarray | None,
    batch_size: int,
    crossing: Crossing | None,
    stepped: Callable[[], object],
) -> LayerDrops | None:
    """Measures what the model loses without layers of the codes; None if their mean is not at hand."""
    if mean is None:
        return None

    def predicted(codes: np.ndarray) -> np.ndarray:
        probabilities = probabilities_of(model, codes, batch_size)
        stepped()
        return probabilities if crossing is None else crossing.probabilities(probabilities)

    return layer_drops(predicted, latents, mean, sum(weight.numel() for weight in model.parameters()))


def _draw_layers(drops: LayerDrops | None, classes: Sequence[str], split: str, folder: Path) -> None:
    """Writes the table and the picture of the layers, or removes those of an earlier evaluation."""
    if drops is None:
        remove(folder / LAYERS_FILE)
        remove(folder / LAYERS_TABLE_FILE)
        return
    write_table(drops, classes, folder / LAYERS_TABLE_FILE)
    title = (
        f"{split}: what the model loses when W+ layers are replaced by the training mean; the lines are 95 % intervals"
    )
    draw_layers(drops, classes, f"{title}; {drops['n']} faces", folder / LAYERS_FILE)


def _draw_mean_attention(attention: MeanAttention, split: str, path: Path) -> None:
    title = f"{split}: share of each W+ layer, attention rollout, mean of each class, percent"
    if attention["flat"]:
        title += f"\n{FLAT_REMARK}"
    figures.draw_mean_attention(attention["rollout"], title, path)


def _draw_samples(
    model: LatentViT,
    latents: LatentSet,
    predictions: Predictions,
    samples: int,
    faces: FaceFinder | None,
    output_dir: Path,
) -> None:
    """Draws the attention for faces spread over the classes. Pictures of an earlier evaluation are deleted."""
    for path in output_dir.glob(SAMPLE_FILE.format("*")):
        remove(path)
    by_class = np.argsort(latents.labels, kind="stable")
    rows = by_class[np.unique(np.linspace(0, len(by_class) - 1, min(samples, len(by_class))).round().astype(int))]
    if not len(rows):
        return
    maps = attend(model, latents.codes[rows])
    pictures, classes = find_pictures(faces, latents, rows), latents.label_set.classes
    for i, row in enumerate(rows):
        probabilities = predictions.probabilities[row]
        figures.draw_attention(
            maps.rollout[i],
            maps.cosine[i],
            maps.between[i],
            maps.similarity[i],
            f"{latents.image_ids[row]}: truth {classes[latents.labels[row]]}, predicted "
            f"{classes[probabilities.argmax()]}, confidence {probabilities.max():.2f}",
            output_dir / SAMPLE_FILE.format(i),
            pictures[i],
            FLAT_REMARK if maps.peaks[i] < FLAT else "",
        )


def find_pictures(faces: FaceFinder | None, latents: LatentSet, rows: Sequence[int]) -> list[np.ndarray | None]:
    """Reads the pictures of some rows, uint8 [size, size, 3] each; None for a picture that cannot be found."""
    if faces is None:
        return [None] * len(rows)
    return faces.find([latents.image_ids[row] for row in rows], [latents.sha256[row] for row in rows])


def check_fit(checkpoint: Checkpoint, latents: LatentSet, crossing: Crossing | None = None) -> None:
    """Checks that a model can read these codes, and that it has their classes unless a crossing maps them.

    Raises:
        UserError: the codes have another shape than the model's, come from another encoder, or have other classes.
    """
    expected = (checkpoint.config.seq_len, checkpoint.config.latent_dim)
    if latents.codes.shape[1:] != expected:
        raise UserError(
            f"{latents.path}: holds codes of {latents.codes.shape[1]} x {latents.codes.shape[2]}, but the model takes "
            f"{expected[0]} x {expected[1]}; encode with the encoder that the model was trained on"
        )
    if checkpoint.encoder is not None and not latents.encoder.same_codes(checkpoint.encoder):
        raise UserError(
            f"{latents.path}: its codes come from encoder {latents.encoder}, the model was trained on codes of "
            f"{checkpoint.encoder}; encode with that one"
        )
    if crossing is None and latents.label_set != checkpoint.label_set:
        raise UserError(
            f"{latents.path}: its labels are {latents.label_set}, but the model names {checkpoint.label_set}; "
            f"label sets never mix: {called('evaluate')} maps one onto another (by name, or by --label_map FILE)"
        )
