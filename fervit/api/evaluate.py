"""`fervit.evaluate` evaluates a trained LatentViT on a split of codes."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fervit.api.arguments import Files, as_text, check_at_least, exclusion_in, votes_in
from fervit.checkpoints.checkpoint import Checkpoint, load_checkpoint
from fervit.checkpoints.places import checkpoint_in
from fervit.errors import UserError
from fervit.evaluation.crossing import Crossing, cross, in_words
from fervit.evaluation.evaluate import (
    FILES,
    FLAT_REMARK,
    FOLDER,
    RESULTS_FILE,
    SAMPLES,
    SEEN,
    Evaluation,
    check_fit,
    steps_of,
)
from fervit.evaluation.evaluate import evaluate as evaluate_rows
from fervit.evaluation.groups import FILE as GROUPS_FILE
from fervit.evaluation.groups import Groups, by_group, check_groups, groups_in_words, read_groups, read_scores
from fervit.evaluation.paired.layers import drop_text, mean_of, strongest
from fervit.evaluation.predictions import FILE as PREDICTIONS_FILE
from fervit.evaluation.predictions import Predictions
from fervit.evaluation.results import EvaluationResults, excluded_in_words, rows_of_report, votes_in_words
from fervit.evaluation.statistics import ece_in_words
from fervit.io.disk import remove
from fervit.io.files import JsonObject, from_home, read_object, write_json
from fervit.io.storage import absolute, name_of, sibling
from fervit.labels.label_set import SEVEN
from fervit.latents import LatentSet
from fervit.latents.exclusion import Exclusion
from fervit.latents.latent_set import read_sha256
from fervit.latents.looks import RecordedLook, Seen, others_in_words, record_look
from fervit.latents.parts import about_in
from fervit.latents.source import find_faces
from fervit.latents.votes import Votes, VotesAs
from fervit.progress import Progress, Say, silent
from fervit.system.gpu import device_at_hand


def evaluate(
    checkpoint_path: str | Path,
    latent_test_dir: str | Path,
    *,
    output_dir: str | Path | None = None,
    batch_size: int = 32,
    visualize_samples: int = SAMPLES,
    latent_train_dir: str | Path | None = None,
    data_root: str | Path | None = None,
    exclude: Files | None = None,
    votes: str | Path | None = None,
    votes_as: str = "majority",
    groups: str | Path | None = None,
    no_faces: bool = False,
    heads: int | None = None,
    device: str | None = None,
    label_map: str | Path | None = None,
    say: Say | None = print,
) -> Evaluation:
    """Evaluates a model on a split, and writes its results, predictions and pictures.

    Args:
        checkpoint_path: the best_model.pt of a run, the best/ folder of a sweep, or the `model` of a result.
        latent_test_dir: the folder or URI of the split's Parquet files.
        output_dir: the folder for results and pictures; None for eval_results or, where the evaluation of another model
            or split is, eval_results_2 and so on.
        batch_size: the number of codes in a forward pass.
        visualize_samples: the number of faces over all classes whose attention is drawn.
        latent_train_dir: the latents that it was trained on, to find copies of them; None for train/ beside the split.
        data_root: the faces, which are shown beside their attention; None for the place from which they were encoded.
        exclude: a list of faces, as of `fervit.audit`, or several, without which the metrics are given as well.
        votes: a CSV file with the votes of taggers, such as FER+'s fer2013new.csv, which replace the labels.
        votes_as: "majority" for the class of most votes, or "distribution" to measure against their shares as well.
        groups: a CSV file with `image_id` and columns such as age or camera, by whose values to give the metrics.
        no_faces: whether to draw attention without the faces beside it.
        heads: the number of attention heads of another script's model whose file does not name it.
        device: a flag of the guide's scripts, which says so if the evaluation takes another device.
        label_map: a file that maps the model's classes onto those of a split with another label set, with lines
            `class of the model: class of the split`; those that it does not name are mapped by their names.
        say: gets each line of text; None for silence.

    Returns:
        The name of the split, the metrics with their 95 % confidence intervals, and the output folder.

    Raises:
        UserError: a file is missing or wrong, the codes come from another encoder than the model's, or fewer than two
            classes of the model are among those of the split.

    Example:
        fervit.evaluate("experiments/vit_20260102_030405/best", "latents/test").metrics["f1_macro"]
    """
    check_at_least(1, {"batch_size": batch_size})
    check_at_least(0, {"visualize_samples": visualize_samples})
    model, split = checkpoint_in(Path(from_home(str(checkpoint_path)))), from_home(str(latent_test_dir))
    checkpoint, latents, crossing, voted = _open(model, split, heads, label_map, votes_in(votes, votes_as))
    listed = exclusion_in(exclude)
    evaluating = partial(evaluate_rows, split=name_of(split), checkpoint_path=absolute(str(model)), crossing=crossing)
    evaluating = partial(evaluating, batch_size=batch_size, samples=visualize_samples, exclusion=listed, votes=voted)
    mean = _training_mean(checkpoint, split, as_text(latent_train_dir))
    (say or silent)(f"evaluating {len(latents):,} faces of {name_of(split)} ...")
    progress = Progress(steps_of(checkpoint, mean), "steps", "evaluate", say)
    evaluating = partial(evaluating, training_mean=mean, stepped=partial(progress.add, 1))
    evaluating = partial(evaluating, faces=None if no_faces else find_faces(latents, as_text(data_root)))
    out = _own_folder(checkpoint, latents) if output_dir is None else _given_folder(output_dir)
    replaced = (out / RESULTS_FILE).is_file()
    training = as_text(latent_train_dir)
    grouping = _grouping(groups, latents if crossing is None else crossing.rows(latents), out)
    with contextlib.closing(progress):
        result, remarks = _recorded(evaluating, checkpoint, latents, out, training, listed)
    remarks += [*_about_device(device), *_about_encoder(checkpoint, latents)]
    grouping(result)
    if replaced:
        remarks.append(f"in place of the evaluation that was in {out}")
    for line in (*remarks, *summary_lines(result)):
        (say or silent)(line)
    return result


def _grouping(file: str | Path | None, rows: LatentSet, out: Path) -> Callable[[Evaluation], None]:
    """Reads and checks groups before the look, and removes the metrics by group of an earlier evaluation.

    Args:
        file: the CSV file of the groups; None for none.
        rows: the rows that take part.
        out: the folder of the evaluation.

    Returns:
        A function that writes the metrics by group of the evaluation.

    Raises:
        UserError: the file is wrong, or no row is in it.
    """
    groups = None if file is None else read_groups(from_home(str(file)))
    if groups is not None:
        check_groups(groups, rows.image_ids)
    remove(out / GROUPS_FILE)
    return partial(_by_group, groups)


def _given_folder(output_dir: str | Path) -> Path:
    """Returns the folder that the user named.

    Raises:
        UserError: it is a file, or holds results that no evaluation has written.
    """
    folder = Path(from_home(str(output_dir)))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {folder}: is a file; give a folder")
    if (folder / RESULTS_FILE).exists() and "confusion_matrix" not in (read_object(folder / RESULTS_FILE) or {}):
        raise UserError(f"--output_dir {folder}: its {RESULTS_FILE} is of no evaluation; give another folder")
    return folder


def _own_folder(checkpoint: Checkpoint, latents: LatentSet) -> Path:
    """Returns the first of eval_results, eval_results_2, ... that holds no evaluation of another model or split."""
    for number in itertools.count(1):
        folder = Path(FOLDER if number == 1 else f"{FOLDER}_{number}")
        if not (folder / RESULTS_FILE).is_file():
            break
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
            same = found["checkpoint"]["fingerprint"] == checkpoint.fingerprint
            if same and found["latents"]["fingerprint"] == latents.fingerprint:
                break
    return folder


def _by_group(groups: Groups | None, result: Evaluation) -> None:
    """Writes the metrics by group, if there are groups."""
    if groups is None:
        return
    predictions = Predictions.read(result.output_dir / PREDICTIONS_FILE)
    classes = predictions.label_set.classes
    found = by_group(groups, predictions.image_ids, predictions.labels, predictions.predicted, classes)
    write_json(result.output_dir / GROUPS_FILE, {"columns": found})


def _open(
    model: Path, split: str, heads: int | None, label_map: str | Path | None, votes: tuple[Votes, VotesAs] | None
) -> tuple[Checkpoint, LatentSet, Crossing | None, JsonObject | None]:
    """Opens a checkpoint and a split that fits it, with the labels that taggers give it.

    Also returns how the model's classes are mapped onto those of the split, and what records say of the votes; both are
    None where there is nothing to map, or no votes.
    """
    checkpoint, latents, voted = load_checkpoint(model, heads=heads), LatentSet.read(split), None
    if votes is not None:
        latents, counts = votes[0].relabelled(latents, votes[1])
        voted = votes[0].record(votes[1], {name_of(split): counts})
    crossing = cross(checkpoint.label_set, latents.label_set, label_map)
    check_fit(checkpoint, latents, crossing)
    return checkpoint, latents, crossing, voted


def _recorded(
    evaluating: Callable[..., Evaluation],
    checkpoint: Checkpoint,
    latents: LatentSet,
    out: Path,
    training: str | None,
    listed: Exclusion | None,
) -> tuple[Evaluation, list[str]]:
    """Evaluates, records the look unless the rows have trained or chosen the model, and returns remarks on the record.

    The look is recorded when all that the evaluation reads has been found.
    """
    trained_on, chosen_by = _pictures(latents.path, training)
    seen = latents.origin in checkpoint.data.values()
    lists = None if listed is None else listed.record({name_of(latents.path): int(listed.rows_of(latents).sum())})
    look = None if seen else record_look(latents, [checkpoint.fingerprint], out, exclude=lists)
    others = look.others if look is not None else None
    result = evaluating(
        checkpoint, latents, out, training_sha256=trained_on, validation_sha256=chosen_by, others=others
    )
    return result, [] if look is None else _finished(look, result)


def _about_device(device: str | None) -> list[str]:
    """What the user must know who asked for another device than the one that an evaluation takes."""
    used = device_at_hand()
    if device is None or device.partition(":")[0] == used:
        return []
    why = "the CPU, since no GPU is at hand" if used == "cpu" else "the GPU at hand"
    return [f"--device {device}: is left out; an evaluation takes seconds, and ran on {why}"]


def _training_mean(checkpoint: Checkpoint, split: str, training: str | None) -> np.ndarray | None:
    """The mean of the codes that the model was trained on, [seq_len, latent_dim]; None if they are not at hand.

    A model that standardises codes holds it. Without a folder that the user gave, only codes that the checkpoint was
    trained on count.
    """
    if checkpoint.config.standardise:
        return checkpoint.model_state_dict["code_mean"].cpu().numpy()
    where = training or sibling(split, "train")
    if training is None and about_in(where) is None:
        return None
    codes = LatentSet.read(where)
    if training is None and codes.origin not in checkpoint.data.values():
        return None
    fits = codes.codes.shape[1:] == (checkpoint.config.seq_len, checkpoint.config.latent_dim)
    return mean_of(codes.codes) if fits else None


def _pictures(split: str, training: str | None) -> tuple[list[str] | None, list[str] | None]:
    """The hashes of the pictures that the model was trained on and chosen by; None for those that are not at hand."""
    trained_on = read_sha256(training or sibling(split, "train"), required=training is not None)
    return trained_on, None if name_of(split) == "val" else read_sha256(sibling(split, "val"), required=False)


def _about_encoder(checkpoint: Checkpoint, latents: LatentSet) -> list[str]:
    """What the user must know about the encoder of the codes."""
    lines = []
    if not checkpoint.encoder:
        lines.append("checkpoint: of an earlier run, which does not name its codes' encoder: make sure it was this one")
    if latents.encoder.untrained:
        lines.append("encoder: demo, UNTRAINED random weights, for trying fervit out only")
    return lines


def _finished(look: RecordedLook, result: Evaluation) -> list[str]:
    """Writes the results into the record of a look, and returns what the user must know about the record."""
    metrics = result.metrics
    fingerprint, f1_macro = metrics["checkpoint"]["fingerprint"], metrics["f1_macro"]
    look.finish([Seen(checkpoint=fingerprint, f1_macro=f1_macro, accuracy=metrics["accuracy"])])
    return [look.remark] if look.remark else []


def summary_lines(evaluation: Evaluation) -> list[str]:
    """Summarises an evaluation for one screen.

    Args:
        evaluation: the evaluation.

    Returns:
        The lines: the metrics with confidence intervals, one line for each class, the copies of training faces, and
        the files that were written.
    """
    metrics = evaluation.metrics
    lines = [f"{evaluation.split}: {metrics['n']} faces; values with 95 % intervals"]
    if "across" in metrics:
        lines += in_words(metrics["across"])
    if metrics["seen"] is not None:
        lines.append(f"  {SEEN[metrics['seen']]}, so the numbers are optimistic")
    classes = metrics.get("labels", SEVEN.classes)
    width = max(9, *map(len, classes))
    accuracy, f1_macro = (_with_interval(metrics, name) for name in BRIEF)
    lines.append(f"  accuracy {accuracy}, macro-F1 {f1_macro}, {ece_in_words(metrics)}")
    lines += [
        f"  {name:<{width}} precision {row['precision']:.2f}  recall {row['recall']:.2f}  F1 {row['f1-score']:.2f}"
        for name, row in list(rows_of_report(metrics).items())[: len(classes)]
    ]
    by_groups = read_scores(evaluation.output_dir)
    if by_groups is not None:
        lines += groups_in_words(by_groups)
    lines += votes_in_words(metrics)
    lines += [*excluded_in_words(metrics), _copies(metrics), *_copies_of_validation(metrics)]
    lines += layers_in_words(metrics)
    others = others_in_words(metrics.get("looks_of_others") or 0)
    if others:
        lines.append(others)
    if metrics["attention"]["flat"]:
        lines.append(FLAT_REMARK)
    folder = evaluation.output_dir
    files = sorted(path.name for path in folder.iterdir() if any(map(path.match, (*FILES, GROUPS_FILE))))
    return [*lines, *evaluation.remarks, f"written: {', '.join(files)}", f"to       {folder}"]


def layers_in_words(metrics: EvaluationResults) -> list[str]:
    """The lines about what the model loses without groups of layers; none if that was not measured.

    Args:
        metrics: the content of evaluation_results.json.

    Returns:
        A line on the groups, and one on the group that carries each class most.
    """
    drops = metrics.get("layers")
    if drops is None:
        return []
    groups = {name: one for name, one in drops["without"].items() if not name.isdigit()}
    said = ", ".join(f"{name} {drop_text(one)}" for name, one in groups.items())
    carried = ", ".join(f"{emotion} {text.partition(' ')[0]}" for emotion, text in strongest(drops).items())
    return [
        f"drop of macro-F1 without layers: {said}",
        f"  carried most by: {carried or 'no group, as no class loses anything'}",
    ]


BRIEF: tuple[Literal["accuracy", "f1_macro"], ...] = ("accuracy", "f1_macro")
"""The metrics that the summary shows with their confidence intervals."""


def _with_interval(metrics: EvaluationResults, name: Literal["accuracy", "f1_macro"]) -> str:
    low, high = metrics["intervals_95"][name]
    return f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"


def _copies_of_validation(metrics: EvaluationResults) -> list[str]:
    copies = metrics.get("copies_of_validation")
    if copies is None or not copies["n"]:
        return []
    return [f"copies of validation faces, which chose the model: {copies['n']} of {metrics['n']}"]


def _copies(metrics: EvaluationResults) -> str:
    copies = metrics["copies_of_training"]
    if copies is None:
        return "copies of training faces: not looked for; --latent_train_dir names the latents trained on"
    line = f"copies of training faces: {copies['n']} of {metrics['n']}"
    without = copies["without_copies"]
    if without is None:
        return line
    return f"{line}; without them accuracy {without['accuracy']:.3f}, macro-F1 {without['f1_macro']:.3f}"
